//! Compiles the schemas in `proto/` once, for both planes and the command line: messages and services, and by the features
//! of `rr-wire` those of the management API, their JSON form, REST routes, and the descriptor set that reflection
//! serves. Needs no `protoc`.
//!
//! Stamps no version and reads nothing from the environment but Cargo's own variables.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result};

/// Where imports are looked for.
const ROOTS: [&str; 2] = ["proto", "proto/vendor"];

/// The schemas that are compiled, with whatever they import.
const SCHEMAS: &str =
    if cfg!(feature = "management") { "proto/requestrocket" } else { "proto/requestrocket/fleet" };

/// Well-known types have their JSON form from `pbjson-types`, but a field mask has it from us.
const EXTERN: [(&str, &str); 2] =
    [(".google.protobuf.FieldMask", "crate::FieldMask"), (".google.protobuf", "::pbjson_types")];

/// Plaintext of seals: no `Debug`, no JSON.
const NEVER_SENT: [&str; 2] =
    [".requestrocket.fleet.v1.SecretPlaintext", ".requestrocket.fleet.v1.RegionKeyPlaintext"];

/// Messages whose maps have their entries in order.
const ORDERED: [&str; 2] =
    [".requestrocket.management.v1.Credential", ".requestrocket.management.v1.PlainSecret"];

fn main() -> Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").context("Cargo sets OUT_DIR")?);
    // Not all of `proto/`: there is Rust in it.
    for folder in [SCHEMAS, "proto/vendor"] {
        println!("cargo:rerun-if-changed={folder}");
    }

    let mut compiler = protox::Compiler::new(ROOTS)?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(schemas(Path::new(SCHEMAS))?)?;
    if cfg!(feature = "rest") {
        compiler.open_files(["google/rpc/status.proto", "google/rpc/error_details.proto"])?;
    }
    // These bytes keep the options of google.api.http; the decoded set does not.
    let descriptors = compiler.encode_file_descriptor_set();
    fs::write(out.join("descriptors.bin"), &descriptors)?;

    let mut tonic = tonic_prost_build::configure()
        .build_transport(false)
        .compile_well_known_types(true)
        // Their examples are not Rust, and documentation tests would try them.
        .disable_comments([".google.rpc"])
        .bytes(".requestrocket.fleet.v1.Resource.payload")
        .bytes(".requestrocket.fleet.v1.Chunk.body")
        // Metadata is part of a document, and equal documents have equal bytes.
        .btree_map(ORDERED[0])
        .btree_map(ORDERED[1])
        // What can hold a plaintext secret must not be printable. Those that a service sends have a
        // `Debug` of their own beside the generated types.
        .skip_debug(NEVER_SENT)
        .skip_debug([
            ".requestrocket.fleet.v1.JoinRequest",
            ".requestrocket.fleet.v1.CallerBasic",
            ".requestrocket.management.v1.Caller",
            ".requestrocket.management.v1.RollCredentialRequest",
            ".requestrocket.management.v1.CreateCredentialResponse",
            ".requestrocket.management.v1.CreateTokenResponse",
            ".requestrocket.management.v1.CreatedKey",
            ".requestrocket.management.v1.PlainSecret",
        ]);
    for (proto, rust) in EXTERN {
        tonic = tonic.extern_path(proto, rust);
    }
    tonic.compile_fds(compiler.file_descriptor_set())?;

    #[cfg(feature = "json")]
    json(&descriptors)?;
    #[cfg(feature = "rest")]
    rest(&descriptors, &out)?;
    Ok(())
}

/// Writes the JSON form of the messages.
#[cfg(feature = "json")]
fn json(descriptors: &[u8]) -> Result<()> {
    let mut json = pbjson_build::Builder::new();
    for (proto, rust) in EXTERN {
        json.extern_path(proto, rust);
    }
    json.register_descriptors(descriptors)?;
    json.exclude(NEVER_SENT);
    json.btree_map(ORDERED);
    json.build(&[".requestrocket.management.v1", ".requestrocket.fleet.v1", ".google.rpc"])?;
    Ok(())
}

/// Writes the REST routes. Their OpenAPI document is the control plane's: it knows more of them.
#[cfg(feature = "rest")]
fn rest(descriptors: &[u8], out: &Path) -> Result<()> {
    use rest_over_grpc::build::{DescriptorOptions, Generator, ServiceDefinition};

    let mut options = DescriptorOptions::new().package(".requestrocket");
    for (proto, rust) in EXTERN {
        options = options.extern_path(proto, rust);
    }
    let mut generator = Generator::builder().build();
    generator.add_all(ServiceDefinition::from_fds(descriptors, &options)?);
    generator.write(out)?;
    Ok(())
}

/// All `.proto` files below `folder`, as import paths, in a fixed order.
fn schemas(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(schemas(&path)?);
        } else if path.extension().is_some_and(|end| end == "proto") {
            found.push(path.strip_prefix("proto")?.to_owned());
        }
    }
    found.sort();
    Ok(found)
}
