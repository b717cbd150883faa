//! What a program's ServiceAccount may do, as the API server has it, right by right.

use anyhow::{Result, ensure};
use keda_kaito_e2e::audit::Request;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::{Kind, text};
use serde_json::Value;

const RBAC: &str = "rbac.authorization.k8s.io";

/// One verb on one resource, of one name if it is bound to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Right {
    pub(crate) resource: String,
    pub(crate) verb: String,
    name: Option<String>,
    /// Empty: in every namespace.
    namespace: String,
}

impl Right {
    /// Whether the server carried this request out because of this right.
    pub(crate) fn is_used_by(&self, request: &Request) -> bool {
        // An apply that makes the object asks for both verbs.
        let applied = self.verb == "create" && request.verb == "patch" && request.code == 201;
        let succeeded = request.code < 300;
        succeeded
            && (self.verb == request.verb || applied)
            && self.resource == request.resource
            && self.name.as_ref().is_none_or(|name| *name == request.name)
            && (self.namespace.is_empty() || self.namespace == request.namespace)
    }
}

/// Every right of the program, through whatever is bound to its ServiceAccount.
pub(crate) async fn rights(bed: &Bed, component: &str) -> Result<Vec<Right>> {
    let account = format!("keda-kaito-scaler-{component}");
    let mut rights = Vec::new();
    for scope in ["ClusterRole", "Role"] {
        let (roles, bindings) = match scope {
            "Role" => (Kind::new(RBAC, "v1", "Role"), Kind::new(RBAC, "v1", "RoleBinding")),
            _ => (
                Kind::new(RBAC, "v1", "ClusterRole"),
                Kind::new(RBAC, "v1", "ClusterRoleBinding"),
            ),
        };
        for binding in bed.list(bindings, "").await? {
            if !list(&binding, "/subjects")
                .iter()
                .any(|subject| text(subject, "/name") == account)
            {
                continue;
            }
            let namespace = text(&binding, "/metadata/namespace");
            let role = bed.get(roles, namespace, text(&binding, "/roleRef/name")).await?;
            for rule in list(&role, "/rules") {
                rights.extend(of_rule(&rule, namespace));
            }
        }
    }
    ensure!(rights.len() > 5, "{account} has {rights:?}");
    Ok(rights)
}

fn of_rule(rule: &Value, namespace: &str) -> Vec<Right> {
    let names: Vec<Option<String>> = match &list(rule, "/resourceNames")[..] {
        [] => vec![None],
        names => names.iter().map(|name| name.as_str().map(str::to_owned)).collect(),
    };
    let mut rights = Vec::new();
    for resource in list(rule, "/resources") {
        for verb in list(rule, "/verbs") {
            for name in &names {
                rights.push(Right {
                    resource: resource.as_str().unwrap_or_default().to_owned(),
                    verb: verb.as_str().unwrap_or_default().to_owned(),
                    name: name.clone(),
                    namespace: namespace.to_owned(),
                });
            }
        }
    }
    rights
}

fn list(object: &Value, pointer: &str) -> Vec<Value> {
    object.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default()
}
