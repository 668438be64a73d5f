//! The OpenAPI document at `/openapi.json`, and at `/docs` a page that shows it. Must never load anything from elsewhere.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::App;
use crate::http::error;
use crate::openapi::responses::Problem;

/// This document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(crate) async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}

/// The page: Swagger UI from the program itself. Its files have relative addresses, so that they resolve behind a proxy
/// that removes a prefix.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>EPR API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"#;

/// Starts Swagger UI. A file of its own, because the policy of the page allows no script inside it.
const START: &str = r##"SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
});
"##;

/// The page runs scripts of this service, shows pictures that are part of its style sheet, and calls this service.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What every answer for the page says to the browser.
const FIXED: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// The API in a browser
#[utoipa::path(
    get, path = "/docs", operation_id = "getDocs", tag = "operation",
    responses((status = 200, description = "A page that needs no network", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> Response {
    (FIXED, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], PAGE).into_response()
}

/// The former address of the page
#[utoipa::path(
    get, path = "/redoc", operation_id = "getRedoc", tag = "operation",
    responses((status = 307, description = "The page is at `/docs`", headers(("Location" = String, description = "`docs`"))))
)]
pub(crate) async fn redoc() -> Response {
    // Relative, as the addresses of the page's files.
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs")]).into_response()
}

/// A file of the page
#[utoipa::path(
    get, path = "/docs/{file}", operation_id = "getDocsFile", tag = "operation",
    params(("file" = String, Path, description = "The name of the file", example = "swagger-ui.css")),
    responses(
        (status = 200, description = "The file", content((String = "text/css"), (String = "text/javascript"))),
        (status = 404, description = "Not found", body = Problem),
    )
)]
pub(crate) async fn file(Path(file): Path<String>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let kind = match file.as_str() {
        "start.js" => return (FIXED, [(header::CONTENT_TYPE, SCRIPT)], START).into_response(),
        "swagger-ui-bundle.js" => SCRIPT,
        "swagger-ui.css" => "text/css; charset=utf-8",
        _ => return error::unknown_path().await,
    };
    let Some(found) = utoipa_swagger_ui::serve(&file, Arc::default()).ok().flatten() else {
        return error::unknown_path().await;
    };
    let mut response = (FIXED, [(header::CONTENT_TYPE, kind)], found.bytes.into_owned()).into_response();
    // The program carries the files compressed; every browser can read that.
    if found.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
