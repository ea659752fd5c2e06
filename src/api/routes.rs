//! Routes, each noted as it is added, so that a test can hold them against the OpenAPI description.

use axum::{
    Router,
    handler::Handler,
    routing::{MethodFilter, on},
};

use super::App;

/// A router that knows what it routes.
#[derive(Debug, Default)]
pub struct Routes {
    router: Router<App>,
    table: Vec<(&'static str, &'static str)>,
}

impl Routes {
    /// Adds a `GET`.
    pub fn get<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("get", MethodFilter::GET, path, handler)
    }

    /// Adds a `PUT`.
    pub fn put<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("put", MethodFilter::PUT, path, handler)
    }

    /// Adds a `POST`.
    pub fn post<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("post", MethodFilter::POST, path, handler)
    }

    /// Adds a `DELETE`.
    pub fn delete<H: Handler<T, App>, T: 'static>(self, path: &'static str, handler: H) -> Self {
        self.add("delete", MethodFilter::DELETE, path, handler)
    }

    fn add<H: Handler<T, App>, T: 'static>(
        mut self,
        method: &'static str,
        filter: MethodFilter,
        path: &'static str,
        handler: H,
    ) -> Self {
        self.router = self.router.route(path, on(filter, handler));
        self.table.push((method, path));
        self
    }

    /// Every method and path.
    #[cfg(test)]
    pub fn table(&self) -> &[(&'static str, &'static str)] {
        &self.table
    }

    /// The router.
    pub fn into_router(self) -> Router<App> {
        self.router
    }
}
