//! The OpenAPI 3.1 description, made from the handlers' own annotations.

use utoipa::{
    Modify, OpenApi,
    openapi::{
        self,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use super::{
    agents, approve, breaker, cluster, configs, containers, discovery, echo, engines, events, join_tokens,
    networks, ops, stats, tokens, topology,
};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Quorate",
        description = "A replicated control plane for agents that run inside containers. Any manager \
            answers any call. Errors are `application/problem+json` with a stable `code`; 504 means that \
            the outcome is unknown, every other error that nothing was changed. Every write takes \
            `Idempotency-Key`; every answer carries `Quorate-Revision`."
    ),
    modifiers(&Bearer),
    paths(
        cluster::status, cluster::health, cluster::managers, cluster::remove_manager, cluster::transfer,
        breaker::get, breaker::lift, topology::topology,
        join_tokens::list, join_tokens::create, join_tokens::revoke,
        tokens::list, tokens::create, tokens::revoke,
        agents::list, agents::deploy, agents::get, agents::explain, agents::start, agents::stop, agents::delete,
        containers::list, containers::register, containers::get, containers::remove,
        containers::cordon, containers::uncordon, stats::stats, echo::echo, approve::approve,
        discovery::get, discovery::scan, discovery::cancel,
        engines::list, engines::add, engines::get, engines::remove,
        networks::list, networks::create, networks::remove, networks::connect, networks::disconnect,
        events::list,
        configs::list, configs::get, configs::put, configs::delete,
        ops::livez, ops::readyz, ops::metrics, ops::openapi, ops::docs,
    )
)]
struct Api;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, api: &mut openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
        api.security = Some(vec![SecurityRequirement::new("token", [""; 0])]);
    }
}

/// The description as JSON.
pub fn document() -> String {
    // Made of strings and maps only, which always can be written as JSON.
    Api::openapi().to_json().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    #[test]
    fn the_description_and_the_routes_are_the_same() {
        let document: Value = serde_json::from_str(&super::document()).unwrap();
        assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for method in ["get", "put", "post", "delete", "patch"] {
                if item.get(method).is_some() {
                    described.insert((method.to_owned(), path.clone()));
                }
            }
        }
        let routes = super::super::routes();
        let routed: BTreeSet<_> = routes
            .table()
            .iter()
            .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
            .collect();
        assert_eq!(routed.len(), routes.table().len(), "a route is there twice");
        assert_eq!(routed, described);
    }
}
