//! The tests of trees, whichever way they are served: `VIA`, of whoever has these.

mod children;
mod complete;
mod ends;
mod equal;
mod gain;
mod jobs;
pub(crate) mod kit;
mod odd;
mod privilege;
mod rights;
mod rules;
mod storm;
mod work;
