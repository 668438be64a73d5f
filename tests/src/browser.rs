//! A browser without script, for the console: it keeps cookies, and sends forms with the token of the page.

use std::collections::BTreeMap;
use std::sync::Mutex;

use reqwest::header::{COOKIE, HeaderMap, LOCATION, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Url};

/// A browser.
pub struct Browser {
    base: String,
    http: Client,
    cookies: Mutex<BTreeMap<String, String>>,
}

/// A response.
#[derive(Debug)]
pub struct Shown {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Shown {
    /// The page; panics unless the status is `status`.
    #[track_caller]
    pub fn expect(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Where the response leads.
    #[track_caller]
    pub fn location(&self) -> &str {
        self.headers.get(LOCATION).expect("a redirect").to_str().expect("text")
    }
}

impl Browser {
    /// A browser for the service at `base`.
    pub fn new(base: &str) -> Self {
        let http = Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { base: base.to_owned(), http, cookies: Mutex::default() }
    }

    /// Opens a page; follows no redirect.
    pub async fn get(&self, path: &str) -> Shown {
        self.get_with(path, &[]).await
    }

    /// Opens a page with further headers.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Shown {
        let request = self.http.get(format!("{}{path}", self.base));
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))).await
    }

    /// Opens a page and follows redirects.
    pub async fn open(&self, path: &str) -> Shown {
        let mut shown = self.get(path).await;
        for _ in 0..3 {
            if !(300..400).contains(&shown.status) {
                break;
            }
            let location = shown.location().to_owned();
            shown = self.get(&location).await;
        }
        shown
    }

    /// Sends a form; follows no redirect.
    pub async fn post(&self, path: &str, form: &[(&str, &str)]) -> Shown {
        self.post_with(path, form, &[]).await
    }

    /// Sends a form with further headers; follows no redirect.
    pub async fn post_with(&self, path: &str, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Shown {
        let encoded = Url::parse_with_params("http://epr.test", form).expect("a URL");
        let request = self.http.post(format!("{}{path}", self.base));
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.send(request.body(encoded.query().unwrap_or_default().to_owned())).await
    }

    /// Logs in with a token, as a visitor does, and returns the response to the form.
    pub async fn log_in(&self, token: &str) -> Shown {
        let page = self.get("/console/login").await.expect(200);
        let form_token = form_token(&page);
        self.post("/console/login", &[("form_token", &form_token), ("token", token)]).await
    }

    /// Sets a cookie.
    pub fn set_cookie(&self, name: &str, value: &str) {
        self.cookies.lock().expect("cookies").insert(name.to_owned(), value.to_owned());
    }

    /// The browser with the same cookies at another process of the deployment.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        let other = Self::new(base);
        other.cookies.lock().expect("cookies").clone_from(&self.cookies.lock().expect("cookies"));
        other
    }

    /// A cookie.
    pub fn cookie(&self, name: &str) -> Option<String> {
        self.cookies.lock().expect("cookies").get(name).cloned()
    }

    async fn send(&self, request: RequestBuilder) -> Shown {
        let cookies: Vec<_> =
            self.cookies.lock().expect("cookies").iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = if cookies.is_empty() { request } else { request.header(COOKIE, cookies.join("; ")) };
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        for cookie in headers.get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("text").split(';').next().expect("a pair");
            let (name, value) = pair.split_once('=').expect("a name and a value");
            let mut cookies = self.cookies.lock().expect("cookies");
            if value.is_empty() {
                cookies.remove(name);
            } else {
                cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        Shown { status, headers, body: answer.text().await.expect("a body") }
    }
}

/// The token of the first form of a page that has one.
#[track_caller]
pub fn form_token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"form_token\" value=\"").expect("a form with a token");
    rest.split('"').next().expect("a value").to_owned()
}
