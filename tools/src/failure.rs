//! Why a tool ends otherwise than well, and what is said then.

use client::ClientError;
use protocol::kafka::apis::Api;
use protocol::kafka::errors::ErrorCode;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// Help or version was asked for: said on stdout, exit code 0.
    #[error("{0}")]
    Help(String),
    /// The command line makes no sense: sentence and usage on stderr, exit code 1.
    #[error("{message}")]
    Misuse { message: String, usage: String },
    /// A sentence of the tool's own, exit code 1.
    #[error("{0}")]
    Said(String),
    /// Everything was said already.
    #[error("exit {0}")]
    Exit(i32),
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node's advertised address does not work.
    #[error("{cause}; {bootstrap} advertises {address} for broker {node}")]
    Advertised {
        cause: ClientError,
        bootstrap: String,
        address: String,
        node: i32,
    },
    /// It was named as a leader or coordinator, and is not among the brokers.
    #[error("broker {0} is not available")]
    NoBroker(i32),
    /// The broker refused.
    #[error("{}", words(*.code, .message.as_deref()))]
    Refused {
        code: ErrorCode,
        message: Option<String>,
    },
    #[error("answer to {0:?} is of another kind")]
    Kind(Api),
    #[error("{act} {path}: {cause}")]
    File {
        act: &'static str,
        path: String,
        cause: std::io::Error,
    },
    #[error("{0} is not there yet")]
    Absent(String),
    #[error(transparent)]
    Znodes(#[from] znodes::store::Error),
}

fn words(code: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) => message.to_string(),
        None => code.message().unwrap_or("no error").to_string(),
    }
}

impl Failure {
    pub(crate) fn said(text: impl Into<String>) -> Failure {
        Failure::Said(text.into())
    }

    /// What it is that this file could not be read.
    pub(crate) fn reading(path: &str) -> impl FnOnce(std::io::Error) -> Failure {
        let path = path.to_owned();
        move |cause| Failure::File {
            act: "read",
            path,
            cause,
        }
    }

    /// The refusal of an answer's code and message, if it is one.
    pub(crate) fn check(code: i16, message: Option<&str>) -> Result<(), Failure> {
        match ErrorCode::of(code) {
            ErrorCode::None => Ok(()),
            code => Err(Failure::Refused {
                code,
                message: message.map(str::to_string),
            }),
        }
    }

    /// Whether it may pass by itself: who lives as long as his cluster tries again later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Failure::Client(cause) | Failure::Advertised { cause, .. } => cause.is_retriable(),
            Failure::Refused { code, .. } => code.is_retriable(),
            Failure::NoBroker(_) => true,
            _ => false,
        }
    }

    pub(crate) fn code(&self) -> Option<ErrorCode> {
        match self {
            Failure::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// As Java prints an exception: its class, then its words.
    pub(crate) fn as_exception(&self) -> String {
        match self {
            Failure::Refused { code, .. } => format!("{}: {self}", code.exception_class()),
            other => other.to_string(),
        }
    }
}
