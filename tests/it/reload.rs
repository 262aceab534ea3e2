//! New settings while requests are under way: nothing is lost.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
};

use tokio::sync::oneshot;
use towergate::{
    config::{Live, Variables},
    health::ProviderState,
    server::Server,
};
use towergate_sim::{Fault, Gate, Sim, SimServer};

use super::support::{Answer, Http, chat, chat_stream};

const RELOADS: usize = 100;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("towergate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, text: &str) -> PathBuf {
        let (path, next) = (self.0.join("towergate.yaml"), self.0.join("next.yaml"));
        std::fs::write(&next, text).unwrap();
        std::fs::rename(&next, &path).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A gateway that follows a file, served on a socket.
async fn serve(folder: &Folder, text: &str) -> (Live, Http, oneshot::Sender<()>) {
    let live =
        Live::start(folder.write(text), Variables::new(|_| None), |_, gateway| Ok(gateway)).await.unwrap();
    let (http, stop) = listen(&live).await;
    (live, http, stop)
}

async fn listen(live: &Live) -> (Http, oneshot::Sender<()>) {
    let server = Server::builder().listen(([127, 0, 0, 1], 0).into()).health(live.gateway());
    let server = server.bind(live.gateway()).await.unwrap();
    let http = Http::new(format!("http://{}", server.local_addr()), false);
    let (stop, stopped) = oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = stopped.await;
    }));
    (http, stop)
}

#[tokio::test]
async fn under_load_no_request_is_lost_to_a_reload() {
    let (one, two) =
        (SimServer::start(Sim::new()).await.unwrap(), SimServer::start(Sim::new()).await.unwrap());
    let text = |round: usize| {
        let (one, two, weight) = (one.base_url(), two.base_url(), round % 3 + 1);
        // The first provider stays as it is, the second is built anew each time.
        format!(
            "providers:\n  one: {{base_url: '{one}'}}\n  two: {{base_url: '{two}', weight: {weight}, timeout: {}}}\n",
            30 + round
        )
    };
    let folder = Folder::new("reload");
    let (mut live, http, _stop) = serve(&folder, &text(0)).await;
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let load = futures_util::future::join_all((0..8).map(|client| {
        let (http, over, served) = (&http, &over, &served);
        async move {
            while !over.load(Relaxed) {
                let body = if client % 2 == 0 { chat("gpt-4o") } else { chat_stream("gpt-4o") };
                let answer = Answer::read(http.send(http.json("/v1/chat/completions", &body)).await).await;
                assert!(answer.whole && answer.status == 200, "{answer:?}");
                served.fetch_add(1, Relaxed);
            }
        }
    }));
    let reloads = async {
        for round in 1..=RELOADS {
            let before = served.load(Relaxed);
            folder.write(&text(round));
            let applied = live.reload().await.unwrap();
            assert_eq!((applied.kept, applied.built), (1, 1));
            while served.load(Relaxed) < before + 3 {
                tokio::task::yield_now().await;
            }
        }
        over.store(true, Relaxed);
    };
    tokio::join!(load, reloads);
    assert!(one.sim().counts().received > 0 && two.sim().counts().received > 0);
}

#[tokio::test]
async fn what_is_under_way_ends_with_the_settings_that_it_began_with() {
    let (old, new) = (Sim::new(), Sim::new());
    let (one, two) =
        (SimServer::start(old.clone()).await.unwrap(), SimServer::start(new.clone()).await.unwrap());
    let text = |url: String| format!("providers: {{a: {{base_url: '{url}'}}}}");
    let folder = Folder::new("under-way");
    let (mut live, http, _stop) = serve(&folder, &text(one.base_url())).await;
    let gate = Gate::new();
    old.script([Fault::new().hold_at(3, &gate)]).unwrap();
    let held = http.send(http.json("/v1/chat/completions", &chat_stream("gpt-4o"))).await;
    folder.write(&text(two.base_url()));
    live.reload().await.unwrap();
    assert_eq!(http.chat(&chat("gpt-4o")).await.status, 200);
    assert_eq!((old.counts().received, new.counts().received), (1, 1));
    gate.open();
    let answer = Answer::read(held).await;
    assert!(answer.whole && answer.text().ends_with("data: [DONE]\n\n"));
}

#[tokio::test]
async fn what_checks_found_is_forgotten_where_they_are_turned_off() {
    let (one, two) =
        (SimServer::start(Sim::new()).await.unwrap(), SimServer::start(Sim::new()).await.unwrap());
    one.sim().script_where(|parts| parts.uri.path() == "/v1/models", ["503; times=1000000"]).unwrap();
    let text = |checks: &str| {
        let (one, two) = (one.base_url(), two.base_url());
        format!(
            "providers:\n  a: {{base_url: '{one}', health_checks: {{{checks}}}}}\n  b: {{base_url: '{two}', priority: 2}}\n"
        )
    };
    let often = "interval: 50ms, unhealthy_after: 1";
    let folder = Folder::new("unchecked");
    let (mut live, http, _stop) = serve(&folder, &text(often)).await;
    let gateway = live.gateway();
    let watched = gateway.clone();
    let watching = tokio::spawn(async move { watched.watch_health().await });
    while gateway.health().providers[0].state != ProviderState::Down {
        tokio::task::yield_now().await;
    }
    assert_eq!(http.chat(&chat("gpt-4o")).await.header("x-towergate-provider"), Some("b"));
    // Nobody will ever find it well again.
    watching.abort();
    for checks in ["enabled: false", often] {
        folder.write(&text(checks));
        assert_eq!(live.reload().await.unwrap().kept, 2);
        assert_eq!(gateway.health().providers[0].state, ProviderState::Healthy, "{checks}");
        assert_eq!(http.chat(&chat("gpt-4o")).await.header("x-towergate-provider"), Some("a"), "{checks}");
    }
}

#[tokio::test]
async fn client_keys_that_come_and_go_hide_and_show_the_operators_paths() {
    let upstream = SimServer::start(Sim::new()).await.unwrap();
    let text = |keys: &str| format!("providers: {{a: {{base_url: '{}'}}}}\n{keys}", upstream.base_url());
    let folder = Folder::new("keys");
    let (mut live, http, _stop) = serve(&folder, &text("")).await;
    assert_eq!(http.get("/health").await.status, 200);
    for (keys, shown) in [("client_keys: {me: {key: right}}", 401), ("server: {client_auth: disabled}", 200)]
    {
        folder.write(&text(keys));
        live.reload().await.unwrap();
        assert_eq!(http.get("/health").await.status, shown, "{keys:?}");
        assert_eq!(http.get("/healthz").await.status, 200, "{keys:?}");
    }
}

/// However the keys went missing, strangers stay outside, clients inside, and operators learn why.
#[tokio::test]
async fn a_file_whose_keys_are_gone_lets_nobody_in() {
    let upstream = SimServer::start(Sim::new()).await.unwrap();
    let providers = format!("providers: {{a: {{base_url: '{}'}}}}\n", upstream.base_url());
    let guarded = providers.clone() + "client_keys:\n  me: {key: right}\n";
    let folder = Folder::new("keys-gone");
    let (mut live, http, _stop) = serve(&folder, &guarded).await;
    let statuses = async || {
        let mut right = http.json("/v1/chat/completions", &chat("gpt-4o"));
        right.headers_mut().insert("authorization", "Bearer right".parse().unwrap());
        let right = Answer::read(http.send(right).await).await;
        [http.chat(&chat("gpt-4o")).await.status.as_u16(), right.status.as_u16()]
    };
    assert_eq!(statuses().await, [401, 200]);
    for gone in [
        providers.clone(),
        providers.clone() + "client_keys:\n",
        providers.clone() + "client_keys: {}\n",
        providers.clone() + "client_keys: []\n",
        providers.clone() + "client_keys:\n  me:\n",
        providers.clone() + "client_keys:\n  me: {key: '${NOT_SET}'}\n",
        providers.clone() + "client_keys:\n  me: {key: '${NOT_SET:-}'}\n",
        guarded[..guarded.len() / 2].to_owned(),
        String::new(),
    ] {
        folder.write(&gone);
        let error = live.reload().await.unwrap_err().to_string();
        assert_eq!(statuses().await, [401, 200], "{gone:?}");
        assert_eq!(live.gateway().health().configuration.unwrap().error, Some(error));
    }
    folder.write(&(providers + "server: {client_auth: disabled}\n"));
    live.reload().await.unwrap();
    assert_eq!(statuses().await, [200, 200]);
}

/// A folder as Kubernetes mounts a ConfigMap: the file is a link into `..data`, which is a link to a folder.
#[cfg(unix)]
struct Mounted(Folder);

#[cfg(unix)]
impl Mounted {
    fn new(name: &str, text: &str) -> (Self, PathBuf) {
        let mounted = Self(Folder::new(name));
        mounted.swap("..1", text);
        let path = mounted.0.0.join("towergate.yaml");
        std::os::unix::fs::symlink("..data/towergate.yaml", &path).unwrap();
        (mounted, path)
    }

    /// Writes a new folder, and puts it in place of the old one at once. Every file has the same age: only what
    /// it is tells one from another.
    fn swap(&self, folder: &str, text: &str) {
        let (new, data, next) = (self.0.0.join(folder), self.0.0.join("..data"), self.0.0.join("..data_tmp"));
        std::fs::create_dir(&new).unwrap();
        let file = new.join("towergate.yaml");
        std::fs::write(&file, text).unwrap();
        let file = std::fs::File::options().write(true).open(file).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        std::os::unix::fs::symlink(folder, &next).unwrap();
        std::fs::rename(&next, &data).unwrap();
    }
}

#[cfg(unix)]
#[tokio::test]
async fn the_swap_of_a_folder_behind_a_link_is_a_change_and_loses_nothing() {
    let upstream = SimServer::start(Sim::new()).await.unwrap();
    // Of the same length: neither age nor length tells.
    let text = |name: &str| format!("providers: {{{name}: {{base_url: '{}'}}}}\n", upstream.base_url());
    let (mounted, path) = Mounted::new("mounted", &text("one"));
    let live = Live::start(path, Variables::new(|_| None), |_, gateway| Ok(gateway)).await.unwrap();
    let (http, _stop) = listen(&live).await;
    let following = tokio::spawn(live.follow(async || std::future::pending().await));
    for (folder, name) in [("..2", "two"), ("..3", "six")] {
        mounted.swap(folder, &text(name));
        let taken_over = async {
            loop {
                let answer = http.chat(&chat("gpt-4o")).await;
                assert!(answer.whole && answer.status == 200, "{answer:?}");
                if answer.header("x-towergate-provider") == Some(name) {
                    return;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(20), taken_over).await.unwrap();
    }
    following.abort();
}
