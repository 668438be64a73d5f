//! End to end: the whole service on real databases, in this process and as real processes.

mod architecture;
mod assignments;
mod check;
mod embedding;
mod entities;
mod hierarchy;
mod input;
mod process;
mod races;
mod roles;
