//! Principals, tokens and secrets.

use crate::row::Bounds::{AtLeast, Free, NonNull, OneOf};
use crate::row::Importance::{Low, Medium};
use crate::row::Scope::{PerBroker, ReadOnly};
use crate::row::State::{Later, NoMeaning, Works};
use crate::row::{Row, row};
use crate::value::Kind::{Class, Int, Long, Password, String};

#[rustfmt::skip]
pub(super) const KEYS: &[Row] = &[
    row("authorizer.class.name", String, Some(""), NonNull, Low, ReadOnly,
        Later,
        "The class that decides who may do what; a broker that is given one does not start, because rules are not enforced yet."),
    row("connection.failed.authentication.delay.ms", Int, Some("100"), AtLeast(0), Low, ReadOnly,
        Later,
        "How long the answer to a failed login is held back."),
    row("connections.max.reauth.ms", Long, Some("0"), Free, Medium, ReadOnly,
        Later,
        "How long a login stays valid before the client must log in again."),
    row("delegation.token.expiry.check.interval.ms", Long, Some("3600000"), AtLeast(1), Low, ReadOnly,
        Later,
        "How often expired tokens are cleared away."),
    row("delegation.token.expiry.time.ms", Long, Some("86400000"), AtLeast(1), Medium, ReadOnly,
        Later,
        "How long a token is valid unless renewed."),
    row("delegation.token.master.key", Password, None, Free, Medium, ReadOnly,
        Later,
        "The older name of delegation.token.secret.key."),
    row("delegation.token.max.lifetime.ms", Long, Some("604800000"), AtLeast(1), Medium, ReadOnly,
        Later,
        "How long a token can be kept valid by renewing it."),
    row("delegation.token.secret.key", Password, None, Free, Medium, ReadOnly,
        Later,
        "The secret that tokens are signed with; the same on all brokers."),
    row("password.encoder.cipher.algorithm", String, Some("AES/CBC/PKCS5Padding"), Free, Low, ReadOnly,
        Works("secrets.cipher"),
        "The cipher that secrets in ZooKeeper are encrypted with."),
    row("password.encoder.iterations", Int, Some("4096"), AtLeast(1024), Low, ReadOnly,
        Works("secrets.iterations"),
        "How often the key for those secrets is derived."),
    row("password.encoder.key.length", Int, Some("128"), AtLeast(8), Low, ReadOnly,
        Works("secrets.key_length"),
        "How long the key for those secrets is."),
    row("password.encoder.keyfactory.algorithm", String, None, Free, Low, ReadOnly,
        Works("secrets.key_factory"),
        "How the key for those secrets is derived."),
    row("password.encoder.old.secret", Password, None, Free, Medium, ReadOnly,
        Works("secrets.old_secret"),
        "The secret before it was last changed, so that old values can still be read."),
    row("password.encoder.secret", Password, None, Free, Medium, ReadOnly,
        Works("secrets.secret"),
        "The secret that passwords in ZooKeeper are encrypted with."),
    row("principal.builder.class", Class, Some("org.apache.kafka.common.security.authenticator.DefaultKafkaPrincipalBuilder"), Free, Medium, PerBroker,
        NoMeaning("there is no Java machine here that could load a class"),
        "The class that names whoever is behind a connection."),
    row("security.inter.broker.protocol", String, Some("PLAINTEXT"), OneOf(&["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]), Medium, ReadOnly,
        Works("listeners.inter_broker"),
        "The protocol between brokers, where no listener is named for them."),
    row("security.providers", String, None, Free, Low, ReadOnly,
        NoMeaning("there is no Java machine here that could load a class"),
        "Java classes that provide cryptography."),
];
