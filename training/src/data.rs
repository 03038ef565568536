//! `novastream-train data`: what data sets there are, and whether they are here and whole.

use std::path::PathBuf;

use novastream_datasets::DatasetError;
use novastream_datasets::manifest::{DatasetManifest, Use, catalog, find};
use novastream_datasets::sample::VIEWERS_SEED;
use novastream_datasets::store::{DataStore, DatasetState};
use serde::Serialize;

/// Data sets in the folder that NOVASTREAM_DATA names.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum DataCommand {
    /// Name, licence and presence of every data set
    List {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Bring what is missing, from the folder that NOVASTREAM_MIRROR names or its address
    Fetch {
        /// Data sets; all when none is named
        names: Vec<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Make the sample of invented viewers that ships: a log of events and its channels
    SampleViewers {
        /// Folder to write into
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Seed; the same seed makes the same files
        #[arg(long, default_value_t = VIEWERS_SEED)]
        seed: u64,
    },
    /// Hash every file
    Verify {
        /// Data sets; all when none is named
        names: Vec<String>,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
}

impl DataCommand {
    /// Whether the answer is wanted as JSON.
    pub fn json(&self) -> bool {
        match self {
            Self::List { json } | Self::Fetch { json, .. } | Self::Verify { json, .. } => *json,
            Self::SampleViewers { .. } => false,
        }
    }
}

/// One data set in an answer.
#[derive(Clone, Debug, Serialize)]
pub struct DataStatus {
    /// Its name.
    pub name: String,
    /// Its licence.
    pub licence: String,
    /// What it may be used for.
    #[serde(rename = "use")]
    pub allowed: Use,
    /// What it holds.
    pub description: String,
    /// How it stands.
    #[serde(flatten)]
    pub state: DatasetState,
    /// Paths that were brought.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fetched: Vec<String>,
}

/// The answer to a data command.
#[derive(Clone, Debug, Serialize)]
pub struct DataReport {
    /// The folder.
    pub root: String,
    /// Data sets in catalogue order, or as named.
    pub datasets: Vec<DataStatus>,
}

impl DataReport {
    /// Whether a verified or fetched data set is not whole.
    pub fn is_incomplete(&self) -> bool {
        self.datasets
            .iter()
            .any(|dataset| dataset.state != DatasetState::Ready)
    }
}

/// Runs a data command.
pub fn run(command: &DataCommand, store: &DataStore) -> Result<DataReport, DatasetError> {
    let names: &[String] = match command {
        DataCommand::List { .. } | DataCommand::SampleViewers { .. } => &[],
        DataCommand::Fetch { names, .. } | DataCommand::Verify { names, .. } => names,
    };
    let manifests: Vec<DatasetManifest> = if names.is_empty() {
        catalog()?
    } else {
        names
            .iter()
            .map(|name| find(name))
            .collect::<Result<_, _>>()?
    };
    let mut datasets = Vec::new();
    for manifest in manifests {
        let (state, fetched) = match command {
            DataCommand::List { .. } | DataCommand::SampleViewers { .. } => {
                (store.state(&manifest), Vec::new())
            }
            DataCommand::Verify { .. } => (store.verify(&manifest)?, Vec::new()),
            DataCommand::Fetch { .. } => {
                let fetched = store.fetch(&manifest)?;
                (store.state(&manifest), fetched)
            }
        };
        datasets.push(DataStatus {
            name: manifest.name,
            licence: manifest.licence,
            allowed: manifest.allowed,
            description: manifest.description,
            state,
            fetched,
        });
    }
    Ok(DataReport {
        root: store.root().display().to_string(),
        datasets,
    })
}
