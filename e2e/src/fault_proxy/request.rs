//! What a request asks of the API server, read from its method and path, and sets of such requests.

use http::{Method, Uri};

/// What is done, in the API server's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
}

impl Verb {
    /// Every verb that changes something.
    pub const WRITES: [Self; 4] = [Self::Create, Self::Update, Self::Patch, Self::Delete];
}

/// A request, taken apart. Without a resource it is discovery, the version or the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whose kubeconfig it came with.
    pub caller: String,
    pub verb: Verb,
    /// As in paths: `inferencesets`. Empty outside resources.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub path: String,
}

impl Request {
    pub(super) fn of(caller: &str, method: &Method, uri: &Uri) -> Self {
        let path = uri.path();
        let mut parts = path.split('/').filter(|part| !part.is_empty());
        // `api/v1` or `apis/<group>/<version>`.
        let versioned = match parts.next() {
            Some("api") => parts.next().is_some(),
            Some("apis") => parts.next().is_some() && parts.next().is_some(),
            _ => false,
        };
        let rest: Vec<&str> = if versioned { parts.collect() } else { Vec::new() };
        let (namespace, rest) = match rest.as_slice() {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let (resource, name) = match rest {
            [] => ("", ""),
            [resource] => (*resource, ""),
            [resource, name, ..] => (*resource, *name),
        };
        let query = uri.query().unwrap_or_default();
        let watches = query.split('&').any(|pair| matches!(pair, "watch=true" | "watch=1"));
        let verb = match *method {
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            _ if watches => Verb::Watch,
            _ if name.is_empty() && !resource.is_empty() => Verb::List,
            _ => Verb::Get,
        };
        Self {
            caller: caller.to_owned(),
            verb,
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            path: path.to_owned(),
        }
    }
}

/// Some of all requests: those that agree with everything that is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    caller: Option<String>,
    verbs: Vec<Verb>,
    resources: Vec<String>,
    not: Vec<String>,
    namespace: Option<String>,
    name: Option<String>,
}

impl Scope {
    /// All requests.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Those of one program.
    #[must_use]
    pub fn caller(mut self, caller: &str) -> Self {
        self.caller = Some(caller.to_owned());
        self
    }

    #[must_use]
    pub fn verbs(mut self, verbs: &[Verb]) -> Self {
        self.verbs = verbs.to_vec();
        self
    }

    /// Those about one of these, as in paths: `scaledobjects`.
    #[must_use]
    pub fn resources(mut self, resources: &[&str]) -> Self {
        self.resources = resources.iter().map(|&resource| resource.to_owned()).collect();
        self
    }

    /// Those about anything but these.
    #[must_use]
    pub fn except(mut self, resources: &[&str]) -> Self {
        self.not = resources.iter().map(|&resource| resource.to_owned()).collect();
        self
    }

    #[must_use]
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Those about the object of this name; watches and lists have none.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    #[must_use]
    pub fn covers(&self, request: &Request) -> bool {
        let agrees = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        agrees(&self.caller, &request.caller)
            && agrees(&self.namespace, &request.namespace)
            && agrees(&self.name, &request.name)
            && (self.verbs.is_empty() || self.verbs.contains(&request.verb))
            && (self.resources.is_empty() || self.resources.contains(&request.resource))
            && !self.not.contains(&request.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &Method, uri: &str) -> Request {
        Request::of("provisioner", method, &uri.parse().unwrap())
    }

    #[test]
    fn paths_are_taken_apart_as_the_api_server_does_it() {
        for (method, uri, verb, resource, namespace, name) in [
            (
                Method::GET,
                "/apis/kaito.sh/v1beta1/inferencesets?limit=500",
                Verb::List,
                "inferencesets",
                "",
                "",
            ),
            (
                Method::GET,
                "/apis/kaito.sh/v1beta1/inferencesets?watch=true&timeoutSeconds=20",
                Verb::Watch,
                "inferencesets",
                "",
                "",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/keda/secrets/ca",
                Verb::Get,
                "secrets",
                "keda",
                "ca",
            ),
            (Method::GET, "/api/v1/namespaces/keda", Verb::Get, "namespaces", "", "keda"),
            (Method::GET, "/apis/keda.sh/v1alpha1", Verb::Get, "", "", ""),
            (Method::GET, "/version", Verb::Get, "", "", ""),
            (
                Method::PATCH,
                "/apis/keda.sh/v1alpha1/namespaces/a/scaledobjects/b?force=true",
                Verb::Patch,
                "scaledobjects",
                "a",
                "b",
            ),
            (
                Method::POST,
                "/apis/coordination.k8s.io/v1/namespaces/keda/leases",
                Verb::Create,
                "leases",
                "keda",
                "",
            ),
            (
                Method::PUT,
                "/apis/coordination.k8s.io/v1/namespaces/keda/leases/x",
                Verb::Update,
                "leases",
                "keda",
                "x",
            ),
            (
                Method::DELETE,
                "/apis/keda.sh/v1alpha1/namespaces/a/scaledobjects/b",
                Verb::Delete,
                "scaledobjects",
                "a",
                "b",
            ),
        ] {
            let found = request(&method, uri);
            assert_eq!(found.verb, verb, "{uri}");
            let parts = [&found.resource, &found.namespace, &found.name];
            assert_eq!(parts, [resource, namespace, name], "{uri}");
        }
    }

    #[test]
    fn a_scope_covers_what_agrees_with_all_of_it() {
        let write = request(&Method::PATCH, "/apis/keda.sh/v1alpha1/namespaces/a/scaledobjects/b");
        let ours = Scope::all().caller("provisioner").verbs(&Verb::WRITES);
        for (scope, covers) in [
            (Scope::all(), true),
            (ours.clone(), true),
            (ours.clone().resources(&["scaledobjects"]).namespace("a").name("b"), true),
            (ours.clone().resources(&["secrets", "leases"]), false),
            (ours.clone().except(&["scaledobjects"]), false),
            (ours.clone().namespace("c"), false),
            (ours.name("c"), false),
            (Scope::all().caller("certmgr"), false),
            (Scope::all().verbs(&[Verb::Watch]), false),
        ] {
            assert_eq!(scope.covers(&write), covers, "{scope:?}");
        }
    }
}
