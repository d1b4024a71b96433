//! Access lists and delegation tokens, on a broker that has neither an authorizer nor SASL.

use serde_json::{Value, json};

use crate::script::{ALL, Script};

pub(crate) fn play(s: &mut Script) {
    let acl = |kind: i8, name: &str, pattern: i8, verb: i8, permission: i8| json!({"resourceType": kind, "resourceName": name, "resourcePatternType": pattern, "principal": "User:a", "host": "*", "operation": verb, "permissionType": permission});
    let filter = |kind: i8, name: Value, pattern: i8, verb: i8, permission: i8| json!({"resourceTypeFilter": kind, "resourceNameFilter": name, "patternTypeFilter": pattern, "principalFilter": null, "hostFilter": null, "operation": verb, "permissionType": permission});
    // Kind, pattern, operation, permission: each with a number nobody knows, zero, and ANY.
    for (case, kind, pattern, verb, permission) in [
        ("as it should be", 2, 3, 3, 3),
        ("prefixed", 2, 4, 3, 3),
        ("any kind", 1, 3, 3, 3),
        ("kind zero", 0, 3, 3, 3),
        ("a kind nobody knows", 77, 3, 3, 3),
        ("any pattern", 2, 1, 3, 3),
        ("a pattern that matches", 2, 2, 3, 3),
        ("pattern zero", 2, 0, 3, 3),
        ("a pattern nobody knows", 2, 77, 3, 3),
        ("any operation", 2, 3, 1, 3),
        ("operation zero", 2, 3, 0, 3),
        ("an operation nobody knows", 2, 3, 77, 3),
        ("any permission", 2, 3, 3, 1),
        ("permission zero", 2, 3, 3, 0),
        ("a permission nobody knows", 2, 3, 3, 77),
    ] {
        s.each(
            "CreateAcls",
            ALL,
            case,
            |_| json!({"creations": [acl(kind, "t", pattern, verb, permission)]}),
        );
        s.each("DescribeAcls", ALL, case, |_| {
            filter(kind, json!("t"), pattern, verb, permission)
        });
        s.each(
            "DeleteAcls",
            ALL,
            case,
            |_| json!({"filters": [filter(kind, json!("t"), pattern, verb, permission)]}),
        );
    }
    s.each("CreateAcls", ALL, "none", |_| json!({"creations": []}));
    s.each(
        "CreateAcls",
        ALL,
        "an empty name",
        |_| json!({"creations": [acl(2, "", 3, 3, 3)]}),
    );
    s.each(
        "CreateAcls",
        ALL,
        "several",
        |_| json!({"creations": [acl(2, "t", 3, 3, 3), acl(3, "g", 3, 3, 3)]}),
    );
    s.each("DescribeAcls", ALL, "all", |_| {
        filter(1, Value::Null, 1, 1, 1)
    });
    s.each("DeleteAcls", ALL, "none", |_| json!({"filters": []}));
    s.each(
        "DeleteAcls",
        ALL,
        "several",
        |_| json!({"filters": [filter(1, Value::Null, 1, 1, 1), filter(2, json!("t"), 3, 3, 3)]}),
    );
    s.each(
        "CreateDelegationToken",
        ALL,
        "where there is no SASL",
        |_| json!({"renewers": [], "maxLifetimeMs": -1}),
    );
    s.each("CreateDelegationToken", ALL, "with renewers", |_| json!({"renewers": [{"principalType": "User", "principalName": "b"}], "maxLifetimeMs": 1000}));
    s.each("CreateDelegationToken", 3..=3, "for an owner of no type", |_| json!({"ownerPrincipalType": null, "ownerPrincipalName": "o", "renewers": [], "maxLifetimeMs": -1}));
    s.each("CreateDelegationToken", 3..=3, "for an owner without a name", |_| json!({"ownerPrincipalType": "User", "ownerPrincipalName": null, "renewers": [], "maxLifetimeMs": -1}));
    s.each("CreateDelegationToken", 3..=3, "for another owner", |_| json!({"ownerPrincipalType": "User", "ownerPrincipalName": "o", "renewers": [], "maxLifetimeMs": -1}));
    s.each(
        "RenewDelegationToken",
        ALL,
        "where there is no SASL",
        |_| json!({"hmac": "00", "renewPeriodMs": 1000}),
    );
    s.each(
        "ExpireDelegationToken",
        ALL,
        "where there is no SASL",
        |_| json!({"hmac": "00", "expiryTimePeriodMs": -1}),
    );
    s.each(
        "DescribeDelegationToken",
        ALL,
        "all",
        |_| json!({"owners": null}),
    );
    s.each(
        "DescribeDelegationToken",
        ALL,
        "none",
        |_| json!({"owners": []}),
    );
    s.each(
        "DescribeDelegationToken",
        ALL,
        "of an owner",
        |_| json!({"owners": [{"principalType": "User", "principalName": "a"}]}),
    );
}
