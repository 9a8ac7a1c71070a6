//! What travels between Nacos and its clients: an envelope of protobuf around JSON.
//!
//! The envelope is three messages with the numbers of Nacos' `nacos_grpc_service.proto`; generated code would need
//! the file and a compiler for it.

use std::collections::HashMap;

use serde_json::Value;

use crate::registries::link::LinkError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct Envelope {
    #[prost(message, optional, tag = "2")]
    pub metadata: Option<EnvelopeMetadata>,
    #[prost(message, optional, tag = "3")]
    pub body: Option<EnvelopeBody>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvelopeMetadata {
    #[prost(string, tag = "3")]
    pub kind: String,
    #[prost(map = "string, string", tag = "7")]
    pub headers: HashMap<String, String>,
    #[prost(string, tag = "8")]
    pub client_ip: String,
}

/// `google.protobuf.Any`; its type is never set.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EnvelopeBody {
    #[prost(string, tag = "1")]
    pub kind: String,
    #[prost(bytes = "vec", tag = "2")]
    pub json: Vec<u8>,
}

impl Envelope {
    pub fn new(kind: &str, body: &Value, token: Option<&str>) -> Envelope {
        let headers = token.map(|token| ("accessToken".to_owned(), token.to_owned()));
        Envelope {
            metadata: Some(EnvelopeMetadata {
                kind: kind.to_owned(),
                headers: headers.into_iter().collect(),
                client_ip: String::new(),
            }),
            body: Some(EnvelopeBody { kind: String::new(), json: body.to_string().into_bytes() }),
        }
    }

    pub fn kind(&self) -> &str {
        self.metadata.as_ref().map_or("", |metadata| &metadata.kind)
    }

    pub fn json(&self) -> Result<Value, LinkError> {
        let bytes = self.body.as_ref().map_or(&[][..], |body| &body.json);
        serde_json::from_slice(bytes)
            .map_err(|error| LinkError::Malformed(format!("{}: {error}", self.kind())))
    }
}
