//! The engines that an evaluation may ask for.

use clap::ValueEnum;
use novastream_inference::BackendChoice;

/// What runs the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Our own kernels where they know the network and the processor has AVX2, else ONNX Runtime, else
    /// Candle
    Auto,
    /// ONNX Runtime: pictures and sound in floats, the text encoder in eight bits
    Onnx,
    /// Candle, floats; what it can't run is left out
    Candle,
}

impl From<Engine> for BackendChoice {
    fn from(engine: Engine) -> Self {
        match engine {
            Engine::Auto => Self::Auto,
            Engine::Onnx => Self::Onnx,
            Engine::Candle => Self::Candle,
        }
    }
}
