//! Load and crashes: many clients against real processes, for minutes.

mod kill;
mod load;
mod outbox;
