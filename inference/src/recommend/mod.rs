//! The recommender's serving half.
//!
//! [`LiveScorer`] joins a trained bundle with the rolling history of users and channels: it
//! orders what is live for a user at a moment. Evaluation runs the same code. [`Recommender`] adds
//! ids, the live set and reasons for serving.

mod ids;
mod live;
mod reason;
mod recommender;

pub use live::{CandidateView, LiveScorer, Scratch};
pub use reason::Reason;
pub use recommender::{
    Fallback, LiveStream, Recommendation, RecommendationList, Recommender, RecommenderLimits, Start,
};
