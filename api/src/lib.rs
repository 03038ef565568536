//! The moderation service and its operator commands.
//!
//! A request goes through [`http`] into the bounded [`pool`], where a [`judge`] looks at it; the
//! verdict is committed to the [`store`] and only then answered. A [`watch`] does the same with the
//! windows of a live URL. [`cli`] is the program around it.

pub mod accept;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod error;
pub mod evidence;
pub mod governor;
pub mod grpc;
pub mod histories;
pub mod http;
pub mod judge;
pub mod lifecycle;
pub mod loading;
pub mod oip;
pub mod policies;
pub mod pool;
pub mod recommend;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod traces;
pub mod watch;
