//! Parquet through a lazy scan, a slice of rows at a time.

use std::io::Read;
use std::path::Path;

use polars::prelude::{DataType, Expr, LazyFrame, PlRefPath, ScanArgsParquet, TimeUnit, col, lit};

use super::csv::emit;
use super::table::{Choose, Row};
use crate::DatasetError;

/// Rows per slice.
const ROWS: u32 = 2_000_000;

pub(super) fn rows(
    path: &Path,
    gzipped: Option<Box<dyn Read>>,
    choose: Choose<'_>,
    row: Row<'_>,
) -> Result<(), DatasetError> {
    // A Parquet file is read from its end, so a gzipped one must be unpacked first.
    let unpacked = match gzipped {
        Some(mut reader) => {
            let mut file = tempfile::NamedTempFile::new().map_err(DatasetError::io(path))?;
            std::io::copy(&mut reader, &mut file).map_err(DatasetError::io(path))?;
            Some(file)
        }
        None => None,
    };
    let source = unpacked.as_ref().map_or(path, |file| file.path());
    let bad = |error| DatasetError::malformed(path, error);
    let source = PlRefPath::try_from_path(source).map_err(bad)?;
    let mut scan = LazyFrame::scan_parquet(source, ScanArgsParquet::default()).map_err(bad)?;
    let schema = scan.collect_schema().map_err(bad)?;
    let names: Vec<String> = schema.iter_names().map(ToString::to_string).collect();
    let wanted = choose(&names)?;
    let columns: Vec<Expr> = wanted
        .iter()
        .map(|name| as_text(name, schema.get(name)))
        .collect();
    let scan = scan.select(columns);
    let mut number = 0;
    loop {
        let frame = scan
            .clone()
            .slice(number as i64, ROWS)
            .collect()
            .map_err(bad)?;
        if frame.height() == 0 {
            return Ok(());
        }
        number = emit(path, &frame, &wanted, number, row)?;
    }
}

/// A column as text; dates become seconds since 1970.
fn as_text(name: &str, dtype: Option<&DataType>) -> Expr {
    let column = col(name);
    let column = match dtype {
        Some(DataType::Datetime(unit, _)) => {
            let per_second = match unit {
                TimeUnit::Nanoseconds => 1_000_000_000_i64,
                TimeUnit::Microseconds => 1_000_000,
                TimeUnit::Milliseconds => 1_000,
            };
            column.cast(DataType::Int64) / lit(per_second)
        }
        Some(DataType::Date) => column.cast(DataType::Int64) * lit(86_400_i64),
        _ => column,
    };
    column.cast(DataType::String).alias(name)
}
