use std::{
    convert::Infallible,
    sync::atomic::{AtomicUsize, Ordering::SeqCst},
};

use http::{Method, Version};
use proptest::prelude::*;
use tower::{ServiceExt as _, service_fn};
use towergate_core::{Error, ErrorKind};

use super::*;

fn host(text: &str) -> HostPattern {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not a host"))
}

fn origins<const N: usize>(texts: [&str; N]) -> AllowedOrigins {
    AllowedOrigins::new(
        texts.map(|text| text.parse().unwrap_or_else(|_| panic!("{text:?} is not an origin"))),
    )
}

fn request(fields: &[(&'static str, &str)]) -> Request<()> {
    let request = fields
        .iter()
        .fold(Request::get("/v1/models"), |request, (name, value)| request.header(*name, *value));
    request.body(()).unwrap()
}

fn websocket(fields: &[(&'static str, &str)]) -> Request<()> {
    request(&[&[("connection", "Upgrade"), ("upgrade", "websocket")], fields].concat())
}

/// The code that a request is refused with.
fn code(rules: &Rules, request: &Request<()>) -> Option<String> {
    rules.check(request).err().map(|error| error.code().to_owned())
}

fn local() -> Rules {
    Rules::for_every_request(AllowedHosts::loopback())
}

#[test]
fn loopback_has_its_names_and_addresses_on_any_port() {
    let hosts = AllowedHosts::loopback();
    for allowed in [
        "localhost",
        "localhost:8080",
        "LocalHost:",
        "localhost.:80",
        "a.b.localhost",
        "127.0.0.1:1",
        "127.255.0.1",
        "127.0.0.1.",
        "[::1]",
        "[::1]:8080",
        "[0:0:0:0:0:0:0:1]:8080",
        "[::ffff:127.0.0.1]",
        "host.docker.internal:8080",
        "Host.Containers.Internal",
        "",
    ] {
        assert!(hosts.allows(allowed), "{allowed:?}");
    }
    for refused in [
        "evil.example",
        "localhost.evil.example",
        "evillocalhost",
        ".localhost",
        "127.0.0.1.evil.example",
        "128.0.0.1",
        "0.0.0.0:8080",
        "10.0.0.5",
        "[::]",
        "[::2]:8080",
        "towergate:8080",
        "evil.docker.internal",
        "evil.local",
    ] {
        assert!(!hosts.allows(refused), "{refused:?}");
    }
}

#[test]
fn a_private_network_has_addresses_and_names_that_the_public_dns_has_not() {
    let hosts = AllowedHosts::for_listener(([0, 0, 0, 0], 8080).into());
    for allowed in [
        "localhost:8080",
        "10.0.0.5:8080",
        "93.184.216.34",
        "[fd00::1]:8080",
        "towergate:8080",
        "my_service",
        "towergate.prod.svc.cluster.local",
        "metadata.internal.",
        "printer.home.arpa:8080",
    ] {
        assert!(hosts.allows(allowed), "{allowed:?}");
    }
    for refused in ["evil.example", "towergate.prod:8080", "evillocal.com", "local.evil.example:8080"] {
        assert!(!hosts.allows(refused), "{refused:?}");
    }
    assert_eq!(AllowedHosts::for_listener("[::ffff:127.0.0.1]:1".parse().unwrap()), AllowedHosts::loopback());
}

#[test]
fn what_is_not_a_host_is_refused() {
    let hosts = AllowedHosts::private_network();
    for garbage in [
        "user@localhost",
        "localhost:80:80",
        "localhost:http",
        "localhost:+80",
        "localhost:99999",
        "localhost/",
        "localhost localhost",
        "localhost, evil.example",
        "local%68ost",
        "::1",
        "[::1",
        "[::1]8080",
        "[localhost]",
        "[fe80::1%25eth0]",
        ":8080",
        "http://localhost",
        &"a".repeat(256),
    ] {
        assert!(!hosts.allows(garbage), "{garbage:?}");
    }
    assert!(AllowedHosts::any().allows("user@localhost"), "nothing is checked");
}

#[test]
fn hosts_are_named_by_name_address_and_domain() {
    let hosts = AllowedHosts::loopback()
        .and(["Gateway.example.com.", "*.corp.example", "10.0.0.5", "fd00::1"].map(host));
    for allowed in [
        "gateway.example.COM:443",
        "gateway.example.com.",
        "a.b.corp.example",
        "10.0.0.5:8080",
        "[fd00:0::1]:8080",
    ] {
        assert!(hosts.allows(allowed), "{allowed:?}");
    }
    for refused in ["a.gateway.example.com", "corp.example", "evilcorp.example", "10.0.0.6", "[fd00::2]"] {
        assert!(!hosts.allows(refused), "{refused:?}");
    }
    let elsewhere = hosts.at(([0, 0, 0, 0], 9090).into());
    assert!(elsewhere.allows("gateway.example.com") && elsewhere.allows("10.0.0.6"));
}

#[test]
fn patterns_are_printed_as_they_are_written() {
    for text in ["any", "gateway.example.com", "*.example.com", "10.0.0.5", "[fd00::1]"] {
        assert_eq!(host(text).to_string(), text);
    }
    assert_eq!((host("*"), host("FD00::1")), (host("any"), host("[fd00::1]")));
    for text in [
        "gateway.example.com:8080",
        "https://a.example",
        "a.example/",
        "",
        "*.",
        "*.10.0.0.5",
        "a*.example",
        "[::1]:80",
    ] {
        assert_eq!(text.parse::<HostPattern>(), Err(InvalidHost), "{text:?}");
    }
    for text in [
        "any",
        "null",
        "https://app.example.com",
        "http://localhost:3000",
        "http://localhost:*",
        "https://*.example.com",
        "https://*",
        "http://[::1]:3000",
        "app://obsidian.md",
        "chrome-extension://*",
        "file://",
    ] {
        assert_eq!(text.parse::<OriginPattern>().map(|origin| origin.to_string()), Ok(text.to_owned()));
    }
    let same = |one: &str, other: &str| one.parse::<OriginPattern>().unwrap() == other.parse().unwrap();
    assert!(same("HTTPS://App.example.com:443/", "https://app.example.com") && same("*", "any"));
    for text in [
        "app.example.com",
        "localhost:3000",
        "https://app.example.com/path",
        "https://user@app.example.com",
        "https://",
        "https://a.example,https://b.example",
        "://a.example",
        "1http://a.example",
        "https://a*.example",
        "",
    ] {
        assert_eq!(text.parse::<OriginPattern>(), Err(InvalidOrigin), "{text:?}");
    }
}

#[test]
fn origins_are_accepted_by_scheme_host_and_port() {
    let allowed = origins([
        "https://app.example.com",
        "http://localhost:*",
        "https://*.corp.example",
        "chrome-extension://*",
        "null",
        "file://",
    ]);
    for origin in [
        "https://app.example.com",
        "https://app.example.com:443",
        "HTTPS://APP.example.com",
        "http://localhost:3000",
        "http://localhost",
        "https://a.corp.example",
        "chrome-extension://abcdef",
        "null",
        "file://",
    ] {
        assert!(allowed.allows(origin.as_bytes()), "{origin}");
    }
    for origin in [
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.example",
        "https://evil.example",
        "https://localhost:3000",
        "http://a.corp.example",
        "https://app.example.com https://evil.example",
        "https://app.example.com@evil.example",
        "moz-extension://abcdef",
        "NULL",
        "",
        "any",
        "\u{e9}",
    ] {
        assert!(!allowed.allows(origin.as_bytes()), "{origin}");
    }
    assert!(AllowedOrigins::any().allows(b"\xff") && !AllowedOrigins::default().allows(b"null"));
    assert!(origins(["null"]).and(&origins(["any"])).is_any() && AllowedOrigins::default().is_empty());
}

#[test]
fn sdks_curl_and_own_pages_notice_nothing() {
    let own: [&[(&str, &str)]; 13] = [
        &[],
        &[("host", "localhost:8080")],
        &[("host", "")],
        &[("host", "127.0.0.1:8080"), ("origin", "http://127.0.0.1:8080")],
        &[("host", "LOCALHOST:8080"), ("origin", "http://localhost.:8080")],
        &[("host", "localhost"), ("origin", "http://localhost:80")],
        // Behind a proxy that ends TLS.
        &[("host", "localhost"), ("origin", "https://localhost")],
        &[("host", "localhost:443"), ("origin", "https://localhost")],
        &[("host", "[0::1]:8080"), ("origin", "http://[::1]:8080")],
        // WebSocket clients that name the target's own address.
        &[("host", "localhost:8080"), ("origin", "ws://localhost:8080/")],
        // Behind a proxy that changes the host, by the browser's own word; an extension's page; typed by the user.
        &[
            ("host", "127.0.0.1:8080"),
            ("origin", "https://app.example.com"),
            ("sec-fetch-site", "same-origin"),
        ],
        &[("host", "127.0.0.1:8080"), ("origin", "null"), ("sec-fetch-site", "none")],
        // `fetch` of Node.
        &[("host", "127.0.0.1:8080"), ("sec-fetch-mode", "cors")],
    ];
    for fields in own {
        for request in [request(fields), websocket(fields)] {
            assert_eq!(code(&local(), &request), None, "{fields:?}");
        }
    }
}

#[test]
fn pages_of_another_origin_are_refused() {
    const HOST: (&str, &str) = ("host", "localhost:8080");
    let foreign: [&[(&str, &str)]; 15] = [
        &[HOST, ("origin", "https://evil.example")],
        &[HOST, ("origin", "null")],
        &[HOST, ("origin", "")],
        &[HOST, ("origin", "http://localhost")],
        &[HOST, ("origin", "http://localhost:3000")],
        &[HOST, ("origin", "http://127.0.0.1:8080")],
        &[HOST, ("origin", "http://localhost:8080.evil.example")],
        &[HOST, ("origin", "http://localhost:8080@evil.example")],
        &[HOST, ("origin", "http://localhost:8080 https://evil.example")],
        &[HOST, ("origin", "http://localhost:8080"), ("origin", "https://evil.example")],
        &[HOST, ("origin", "http://localhost:8080"), ("sec-fetch-site", "cross-site")],
        &[HOST, ("sec-fetch-site", "cross-site")],
        &[HOST, ("sec-fetch-site", "Same-Site")],
        &[HOST, ("sec-fetch-site", "")],
        // Nothing to compare it with.
        &[("origin", "http://localhost:8080")],
    ];
    for fields in foreign {
        for request in [request(fields), websocket(fields)] {
            assert_eq!(code(&local(), &request).as_deref(), Some("origin_not_allowed"), "{fields:?}");
        }
    }
    let error = local().check(&request(foreign[0])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    let text = error.to_string();
    assert!(text.contains("https://evil.example") && text.contains("server.allowed_origins"), "{text}");
}

#[test]
fn a_rebound_name_is_refused_in_every_place() {
    let named = |uri: &str, hosts: &[&str]| {
        let request = hosts.iter().fold(Request::get(uri), |request, host| request.header("host", *host));
        code(&local(), &request.body(()).unwrap())
    };
    for (uri, hosts) in [
        ("/v1/models", &["evil.example:8080"][..]),
        ("http://evil.example:8080/v1/models", &[]),
        ("http://evil.example/v1/models", &["localhost"]),
        ("http://localhost/v1/models", &["evil.example"]),
        ("/v1/models", &["localhost", "evil.example"]),
        ("http://localhost@evil.example/v1/models", &[]),
        ("evil.example:443", &[]),
    ] {
        assert_eq!(named(uri, hosts).as_deref(), Some("host_not_allowed"), "{uri} {hosts:?}");
    }
    assert_eq!(named("http://localhost:8080/v1/models", &["127.0.0.1"]), None);

    // Own page or not: its own word is worth nothing there.
    let own =
        [("host", "evil.example"), ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")];
    let error = local().check(&request(&own)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert!(
        error.to_string().contains("evil.example") && error.setting() == Some("server.allowed_hosts"),
        "{error}"
    );
    let allowed = Rules::for_every_request(AllowedHosts::loopback().and([host("evil.example")]));
    assert_eq!(code(&allowed, &request(&own)), None);
    let mut bytes = request(&[]);
    bytes.headers_mut().insert("host", http::HeaderValue::from_bytes(b"\xff").unwrap());
    assert_eq!(code(&local(), &bytes).as_deref(), Some("host_not_allowed"));
}

#[test]
fn the_origin_is_that_of_every_host_that_is_named() {
    let rules = Rules::for_every_request(AllowedHosts::any());
    let request = |uri: &str| {
        let request = Request::get(uri).header("host", "a.example").header("origin", "http://a.example");
        request.body(()).unwrap()
    };
    assert_eq!(code(&rules, &request("/")), None);
    assert_eq!(code(&rules, &request("http://a.example/")), None);
    assert_eq!(code(&rules, &request("http://b.example/")).as_deref(), Some("origin_not_allowed"));
}

#[test]
fn named_origins_are_let_in() {
    let rules = local().allowed_origins(origins(["https://app.example.com"]));
    let of = |origin: &str| {
        request(&[("host", "localhost"), ("origin", origin), ("sec-fetch-site", "cross-site")])
    };
    assert_eq!(code(&rules, &of("https://app.example.com")), None);
    assert_eq!(code(&rules, &of("https://other.example.com")).as_deref(), Some("origin_not_allowed"));
    let any = local().allowed_origins(AllowedOrigins::any());
    for request in [of("null"), request(&[("sec-fetch-site", "cross-site")])] {
        assert_eq!(code(&any, &request), None);
    }
    assert_eq!(code(&any, &request(&[("host", "evil.example")])).as_deref(), Some("host_not_allowed"));
}

#[test]
fn a_link_may_be_followed_where_it_is_asked_for() {
    let link =
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(code(&local().links(true), &request(&link)), None);
    assert_eq!(code(&local(), &request(&link)).as_deref(), Some("origin_not_allowed"));
    let frame = [link[0], link[1], ("sec-fetch-dest", "iframe")];
    let rebound = [&link[..], &[("host", "evil.example")]].concat();
    let mut posted = request(&link);
    *posted.method_mut() = Method::POST;
    for request in [request(&frame), request(&link[..1]), request(&rebound), posted] {
        assert!(code(&local().links(true), &request).is_some(), "{request:?}");
    }
}

#[test]
fn websockets_alone_are_looked_at_where_clients_show_keys() {
    let rules = Rules::for_websockets();
    let foreign = [("host", "gateway.example.com"), ("origin", "https://evil.example")];
    let own = [foreign[0], ("origin", "https://gateway.example.com")];
    assert_eq!(code(&rules, &request(&foreign)), None);
    assert_eq!(code(&rules, &websocket(&foreign)).as_deref(), Some("origin_not_allowed"));
    assert_eq!(code(&rules, &websocket(&own)), None);
    assert_eq!(code(&rules, &websocket(&foreign[..1])), None);

    // RFC 8441.
    let over_http2 = |origin: &str| {
        let request = Request::connect("https://gateway.example.com/v1/realtime").version(Version::HTTP_2);
        request.header("origin", origin).body(()).unwrap()
    };
    assert_eq!(code(&rules, &over_http2("https://evil.example")).as_deref(), Some("origin_not_allowed"));
    assert_eq!(code(&rules, &over_http2("https://gateway.example.com")), None);
}

#[tokio::test]
async fn what_is_refused_is_not_called() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = GuardLayer::new(local()).layer(service_fn(move |_: Request<()>| {
        counted.fetch_add(1, SeqCst);
        std::future::ready(Ok::<_, Infallible>(Response::new(())))
    }));
    service.clone().oneshot(request(&[("host", "localhost")])).await.unwrap();
    let error = service.oneshot(request(&[("host", "evil.example")])).await.unwrap_err();
    assert_eq!(Error::from_boxed(error).kind(), ErrorKind::Forbidden);
    assert_eq!(calls.load(SeqCst), 1);
}

proptest! {
    #[test]
    fn no_name_with_another_end_is_loopback(name in "[a-z0-9.:@\\[\\]%-]{0,24}") {
        let is_loopback = AllowedHosts::loopback().allows(&format!("{name}.evil.example"));
        prop_assert!(!is_loopback);
    }

    #[test]
    fn a_pattern_allows_the_origin_that_it_is_written_as(
        scheme in "https?|app", name in "[a-z]{1,8}(\\.[a-z]{1,8}){0,2}", port in proptest::option::of(1u16..)
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let origin = format!("{scheme}://{name}{port}");
        let own = origins([&origin]);
        prop_assert!(own.allows(origin.as_bytes()));
        let other = format!("{scheme}://x{name}{port}");
        prop_assert!(!own.allows(other.as_bytes()));
        let request = request(&[("host", &*format!("{name}{port}")), ("origin", &*origin)]);
        prop_assert!(code(&Rules::for_every_request(AllowedHosts::any()), &request).is_none());
    }
}
