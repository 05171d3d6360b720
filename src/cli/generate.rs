//! What the commands that generate files have in common: from which types, where to, or only a look at what is there.

use std::path::PathBuf;

use clap::Args;

use super::failure::{Failure, say, say_error};
use crate::event::Catalog;
use crate::schema;
use crate::schema::generated::{self, Difference, File};

#[derive(Debug, Args)]
pub struct Generate {
    /// Folder to write to.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Folder of own types, to include.
    #[arg(long, value_name = "DIR")]
    schemas: Option<PathBuf>,
    /// Write nothing; exit with 1 where what is there is not what would be written.
    #[arg(long)]
    check: bool,
}

impl Generate {
    /// The types that files are made of.
    pub fn catalog(&self) -> Result<Catalog, Failure> {
        Ok(schema::catalog(self.schemas.as_deref()).map_err(|error| error.to_string())?)
    }

    /// Writes the files to the folder, or says how the folder differs from them.
    pub fn write_or_check(&self, extension: &str, files: &[File]) -> Result<(), Failure> {
        let failed = |error: std::io::Error| Failure::Message(format!("{}: {error}", self.out.display()));
        if self.check {
            let differences = generated::compare(&self.out, extension, files).map_err(failed)?;
            for difference in &differences {
                say_error(&self.out.join(difference.to_string()).display().to_string());
            }
            return if differences.is_empty() { Ok(()) } else { Err(Failure::Said) };
        }
        for difference in generated::write(&self.out, extension, files).map_err(failed)? {
            let path = self.out.join(difference.name());
            match difference {
                Difference::Superfluous(_) => {
                    say(&format!("{} belongs to nothing that is generated: remove it", path.display()));
                }
                Difference::Missing(_) | Difference::Differs(_) => say(&format!("wrote {}", path.display())),
            }
        }
        Ok(())
    }
}
