#![doc = include_str!("../README.md")]
#![no_std]
#![deny(unsafe_code)]

extern crate alloc;

pub mod config;
#[cfg(feature = "image")]
mod image;
#[allow(unsafe_code, reason = "passes on what is promised of this program's memory")]
pub mod load;

#[cfg(feature = "image")]
pub use image::{IMAGE, image, told_address};
