//! `/openapi.json`, and at `/docs` a page that shows it: Swagger UI from the program itself.
//!
//! Must never load anything from another host.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::authn::Scope;
use epr_core::settings::OpenPath;

use crate::App;
use crate::access::Rule;
use crate::http::error;
use crate::http::path::TrailingSlashes;
use crate::openapi::responses::Problem;
use crate::openapi::{Route, route};

pub(crate) fn routes() -> [Route; 4] {
    [
        route!(openapi, Rule::OpenIf(OpenPath::Docs, Scope::Operate)),
        route!(page, Rule::OpenIf(OpenPath::Docs, Scope::Operate)),
        route!(redoc, Rule::OpenIf(OpenPath::Docs, Scope::Operate)),
        route!(file, Rule::OpenIf(OpenPath::Docs, Scope::Operate)),
    ]
}

/// Read this document
#[utoipa::path(
    get, path = "/openapi.json", operation_id = "getOpenApi", tag = "operation",
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = serde_json::Value))
)]
async fn openapi(State(app): State<Arc<App>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], app.document.clone()).into_response()
}

/// The page. `{up}` leads from the page's URL to the folder that has `docs`, so that every address is relative and
/// resolves behind a proxy that strips a prefix.
const PAGE: &str = r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>EPR API</title>
<link rel="stylesheet" href="{up}docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui" data-document="{up}openapi.json"></div>
<script src="{up}docs/swagger-ui-bundle.js"></script>
<script src="{up}docs/start.js"></script>
</body>
</html>
"#;

/// Starts Swagger UI. It is a file because the page's policy allows no inline script.
const START: &str = r##"SwaggerUIBundle({
  url: document.getElementById("swagger-ui").dataset.document,
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
  validatorUrl: null,
});
"##;

/// Allows scripts, styles and calls of this service only, and pictures that are part of its style sheet.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
 connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The headers of the page and its files.
const SECURITY_HEADERS: [(HeaderName, &str); 4] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
];

/// Show the API in a browser
#[utoipa::path(
    get, path = "/docs", operation_id = "getDocs", tag = "operation",
    responses((
        status = 200, description = "A page that needs no other host.", body = String, content_type = "text/html"
    ))
)]
async fn page(slashes: Option<Extension<TrailingSlashes>>) -> Response {
    let up = "../".repeat(slashes.map_or(0, |Extension(TrailingSlashes(count))| count));
    let page = PAGE.replace("{up}", &up);
    (SECURITY_HEADERS, [(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// Redirect to the page
///
/// `/redoc` is the address of the page in the older service.
#[utoipa::path(
    get, path = "/redoc", operation_id = "getRedoc", tag = "operation",
    responses((
        status = 307, description = "The page is at `/docs`.",
        headers(("Location" = String, description = "`docs`, relative to this URL."))
    ))
)]
async fn redoc() -> Response {
    // Relative, like the addresses in the page.
    (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "docs")]).into_response()
}

/// Read a file of the page
#[utoipa::path(
    get, path = "/docs/{file}", operation_id = "getDocsFile", tag = "operation",
    params(("file" = String, Path, description = "The name of the file.", example = "swagger-ui.css")),
    responses(
        (status = 200, description = "The file.", content((String = "text/css"), (String = "text/javascript"))),
        (status = 404, description = "Not found.", body = Problem),
    )
)]
async fn file(Path(file): Path<String>) -> Response {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let content_type = match file.as_str() {
        "start.js" => return (SECURITY_HEADERS, [(header::CONTENT_TYPE, SCRIPT)], START).into_response(),
        "swagger-ui-bundle.js" => SCRIPT,
        "swagger-ui.css" => "text/css; charset=utf-8",
        _ => return error::unknown_path().await,
    };
    let Some(found) = utoipa_swagger_ui::serve(&file, Arc::default()).ok().flatten() else {
        return error::unknown_path().await;
    };
    let headers = [(header::CONTENT_TYPE, content_type)];
    let mut response = (SECURITY_HEADERS, headers, found.bytes.into_owned()).into_response();
    // The program contains the files compressed; every browser accepts that.
    if found.gzpipped {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
