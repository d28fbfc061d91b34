#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod config;
#[cfg(feature = "image")]
mod image;
pub mod load;

#[cfg(feature = "image")]
pub use image::{IMAGE, image, told_address};
