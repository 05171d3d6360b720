//! The mistakes in the schema of a user's type.

/// Why the schema of a user's type was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct SchemaError {
    /// Where: `line L, column C`, a JSON Pointer into the schema, or `its name`.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

/// Every mistake in the schema of a user's type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SchemaErrors(pub Vec<SchemaError>);

impl From<SchemaError> for SchemaErrors {
    fn from(error: SchemaError) -> Self {
        Self(vec![error])
    }
}
