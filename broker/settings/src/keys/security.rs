//! Principals, tokens and secrets.

use crate::row::Bounds::{AtLeast, Free, NonNull, OneOf};
use crate::row::Importance::{Low, Medium};
use crate::row::Scope::{PerBroker, ReadOnly};
use crate::row::State::Later;
use crate::row::{Row, row};
use crate::value::Kind::{Class, Int, Long, Password, String};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("authorizer.class.name", String, Some(""), NonNull, Low, ReadOnly,
        Later,
        ""),
    row("connection.failed.authentication.delay.ms", Int, Some("100"), AtLeast(0), Low, ReadOnly,
        Later,
        ""),
    row("connections.max.reauth.ms", Long, Some("0"), Free, Medium, ReadOnly,
        Later,
        ""),
    row("delegation.token.expiry.check.interval.ms", Long, Some("3600000"), AtLeast(1), Low, ReadOnly,
        Later,
        ""),
    row("delegation.token.expiry.time.ms", Long, Some("86400000"), AtLeast(1), Medium, ReadOnly,
        Later,
        ""),
    row("delegation.token.master.key", Password, None, Free, Medium, ReadOnly,
        Later,
        ""),
    row("delegation.token.max.lifetime.ms", Long, Some("604800000"), AtLeast(1), Medium, ReadOnly,
        Later,
        ""),
    row("delegation.token.secret.key", Password, None, Free, Medium, ReadOnly,
        Later,
        ""),
    row("password.encoder.cipher.algorithm", String, Some("AES/CBC/PKCS5Padding"), Free, Low, ReadOnly,
        Later,
        ""),
    row("password.encoder.iterations", Int, Some("4096"), AtLeast(1024), Low, ReadOnly,
        Later,
        ""),
    row("password.encoder.key.length", Int, Some("128"), AtLeast(8), Low, ReadOnly,
        Later,
        ""),
    row("password.encoder.keyfactory.algorithm", String, None, Free, Low, ReadOnly,
        Later,
        ""),
    row("password.encoder.old.secret", Password, None, Free, Medium, ReadOnly,
        Later,
        ""),
    row("password.encoder.secret", Password, None, Free, Medium, ReadOnly,
        Later,
        ""),
    row("principal.builder.class", Class, Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Free, Medium, PerBroker,
        Later,
        ""),
    row("security.inter.broker.protocol", String, Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly,
        Later,
        ""),
    row("security.providers", String, None, Free, Low, ReadOnly,
        Later,
        ""),
];
