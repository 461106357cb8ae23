//! Manifests: YAML or JSON documents in the protobuf JSON form of `ApplyRequest`.
//!
//! What `grpcurl -d` takes and what `edgeio apply -f` takes are one schema: the `.proto` files. This module turns text into
//! typed requests in three steps, each with positions for its errors: text to a tree (`yaml`), the tree against the message's
//! descriptor (`check`), and the protobuf JSON reader of prost-reflect, which has the last word.
//!
//! Nothing here judges meaning (names, quantities, ports): the server does, for every client alike.

mod check;
mod error;
mod yaml;

use std::io::Read;

use edgeio_proto::api::v1::ApplyRequest;
use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage};

pub use error::{ManifestError, Problem};

/// Largest manifest in bytes. A spec may have 48 KiB and an application 100 services, most far below that; a file beyond this
/// is a mistake, such as an archive given by the wrong name.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// One document of a manifest.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Line on which it begins, from 1.
    pub line: usize,
    /// The request that it states.
    pub request: ApplyRequest,
}

/// Reads the manifest at `path`, `-` for standard input.
///
/// # Errors
/// When it cannot be read, is larger than [`MAX_BYTES`], or is not a manifest.
pub fn load(path: &str) -> Result<Vec<Document>, ManifestError> {
    let mut bytes = Vec::new();
    let (name, read) = if path == "-" {
        let read = std::io::stdin()
            .lock()
            .take(MAX_BYTES + 1)
            .read_to_end(&mut bytes);
        ("<stdin>", read)
    } else {
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
        (path, read)
    };
    read.map_err(|source| ManifestError::Read {
        name: name.to_owned(),
        source,
    })?;
    parse(name, &bytes)
}

/// Reads a manifest from memory; `name` stands for it in errors.
///
/// Empty documents are skipped. All documents are checked before any error is answered.
///
/// # Errors
/// When it is larger than [`MAX_BYTES`] or is not a manifest.
pub fn parse(name: &str, bytes: &[u8]) -> Result<Vec<Document>, ManifestError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ManifestError::TooLarge {
            name: name.to_owned(),
        });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = 1 + bytes
            .iter()
            .take(error.valid_up_to())
            .filter(|b| **b == b'\n')
            .count();
        ManifestError::NotUtf8 {
            name: name.to_owned(),
            line,
        }
    })?;
    let trees = yaml::documents(text.strip_prefix('\u{feff}').unwrap_or(text))
        .map_err(|problem| ManifestError::invalid(name, vec![problem]))?;

    let descriptor = descriptor("edgeio.api.v1.ApplyRequest").ok_or(ManifestError::NoDescriptor)?;
    let mut problems = Vec::new();
    let mut documents: Vec<Document> = Vec::new();
    let many = trees.len() > 1;
    for (index, tree) in trees.iter().enumerate() {
        let number = many.then_some(index + 1);
        let found = check::to_json(tree, &descriptor).and_then(|json| {
            let options = DeserializeOptions::new().deny_unknown_fields(true);
            DynamicMessage::deserialize_with_options(descriptor.clone(), json, &options)
                .map_err(|error| error.to_string())
                .and_then(|message| message.transcode_to().map_err(|error| error.to_string()))
                .map_err(|message| vec![Problem::at(tree.line, tree.column, message)])
        });
        match found {
            Ok(request) => documents.push(Document {
                line: tree.line,
                request,
            }),
            Err(found) => problems.extend(found.into_iter().map(|p| p.in_document(number))),
        }
    }
    problems.extend(repeated_names(&documents));
    if !problems.is_empty() {
        return Err(ManifestError::invalid(name, problems));
    }
    if documents.is_empty() {
        return Err(ManifestError::Empty {
            name: name.to_owned(),
        });
    }
    Ok(documents)
}

/// Two documents for one application would undo each other: the author meant one of them.
fn repeated_names(documents: &[Document]) -> Vec<Problem> {
    let mut seen: Vec<(&str, &str, usize)> = Vec::new();
    let mut problems = Vec::new();
    for document in documents {
        let Some(application) = &document.request.application else {
            continue;
        };
        let namespace = match application.namespace.as_str() {
            "" => "default",
            other => other,
        };
        let first = seen
            .iter()
            .find(|(n, name, _)| *n == namespace && *name == application.name);
        match first {
            Some((_, _, line)) => problems.push(
                Problem::at(
                    document.line,
                    1,
                    format!(
                        "application `{}` is already in the document at line {line}",
                        application.name
                    ),
                )
                .with_path("application.name")
                .with_remedy("join the two documents, or give one another name or namespace"),
            ),
            None => seen.push((namespace, &application.name, document.line)),
        }
    }
    problems
}

/// The descriptor of a message of ours, by its full name.
pub fn descriptor(full_name: &str) -> Option<prost_reflect::MessageDescriptor> {
    static POOL: std::sync::OnceLock<Option<DescriptorPool>> = std::sync::OnceLock::new();
    POOL.get_or_init(|| DescriptorPool::decode(edgeio_proto::FILE_DESCRIPTOR_SET).ok())
        .as_ref()
        .and_then(|pool| pool.get_message_by_name(full_name))
}
