//! Ordinary programs in real jails, none of them configured for a proxy: what the rules permit works, what they do not fails by
//! its rule, and no other way leads out.
use crate::house::{House, data};
use crate::world::{allow, network};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use std::collections::HashMap;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use tenure_core::manifest::NetworkMode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Says so when a program that the test needs is not there.
fn lacks(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !Path::new("/usr/bin").join(program).exists());
    if let Some(program) = missing {
        eprintln!("skipped: /usr/bin/{program} is not installed");
    }
    missing.is_some()
}

type Files = HashMap<String, Vec<u8>>;

/// A web server of files on this host's loopback.
struct Site {
    port: u16,
    /// The request lines that came.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn of(files: Files) -> Site {
        Site::open(files, None).await
    }

    async fn over_tls(files: Files) -> Site {
        let certificates =
            CertificateDer::pem_file_iter(data("server.pem")).unwrap().collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_file(data("server.key")).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(certificates, key).unwrap();
        Site::open(files, Some(TlsAcceptor::from(Arc::new(config)))).await
    }

    async fn open(files: Files, tls: Option<TlsAcceptor>) -> Site {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (files, asked) = (Arc::new(files), Arc::<Mutex<Vec<String>>>::default());
        let kept = Arc::clone(&asked);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (files, asked, tls) = (Arc::clone(&files), Arc::clone(&kept), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, &files, &asked).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, &files, &asked).await;
                            }
                        }
                    }
                });
            }
        });
        Site { port, asked }
    }

    fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, files: &Files, asked: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let line = String::from_utf8_lossy(&head).lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default().to_owned();
    asked.lock().unwrap().push(line);
    let (status, body) = match files.get(&path) {
        Some(body) if body.starts_with(b"Location: ") => ("302 Found", body.as_slice()),
        Some(body) => ("200 OK", body.as_slice()),
        None => ("404 Not Found", &b"none"[..]),
    };
    let (location, body) = if status.starts_with("302") { (body, &b""[..]) } else { (&b""[..], body) };
    let kind = if path.ends_with('/') { "text/html" } else { "application/octet-stream" };
    let end = if location.is_empty() { "" } else { "\r\n" };
    let head =
        format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n", body.len());
    let _ = stream.write_all(&[head.as_bytes(), location, end.as_bytes(), b"\r\n", body].concat()).await;
    let _ = stream.shutdown().await;
}

fn file(path: &str, content: &str) -> Files {
    HashMap::from([(path.to_owned(), content.as_bytes().to_vec())])
}

/// Everything below a folder of the host, as a site's files below `/top`.
fn files_below(folder: &Path, top: &str) -> Files {
    let mut files = Files::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{top}/{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            files.extend(files_below(&entry.path(), &name));
        } else {
            files.insert(name, std::fs::read(entry.path()).unwrap());
        }
    }
    files
}

/// A worker over the host's network, whose jails reach these sites alone.
async fn house(sites: &[&Site]) -> House {
    let listed: Vec<String> = sites.iter().map(|site| site.authority()).collect();
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    House::process(allow(&listed), &data("authority.pem")).await
}

#[tokio::test]
async fn curl_reaches_what_is_listed_over_http_https_and_socks_and_nothing_else() {
    if lacks(&["curl"]) {
        return;
    }
    let (listed, hidden) = (Site::of(file("/f", "over http")).await, Site::of(file("/f", "hidden")).await);
    let secure = Site::over_tls(file("/f", "over https")).await;
    let mut house = house(&[&listed, &secure]).await;
    let url = |site: &Site| format!("http://{}/f", site.authority());
    assert_eq!(house.run("curl", &["-sS", &url(&listed)]).await, (json!(0), "over http".to_owned()));
    let authority = std::fs::read_to_string(data("authority.pem")).unwrap();
    house.does("filesystem.write", json!({"path": "authority.pem", "content": authority})).await;
    let over_tls = format!("https://{}/f", secure.authority());
    let trusting = ["-sS", "--cacert", "authority.pem", over_tls.as_str()];
    assert_eq!(house.run("curl", &trusting).await, (json!(0), "over https".to_owned()));
    // Control: what is inside the tunnel is the program's own TLS, which does not know this authority.
    let (code, said) = house.run("curl", &["-sS", &over_tls]).await;
    assert!(code == 60 && said.contains("certificate"), "{code} {said}");
    let by_socks = |url: &str| format!("curl -sS --proxy socks5h://127.0.0.1:3128 {url}");
    assert_eq!(house.run("sh", &["-c", &by_socks(&url(&listed))]).await, (json!(0), "over http".to_owned()));

    let (code, said) = house.run("curl", &["-sS", "-i", &url(&hidden)]).await;
    assert!(code == 0 && said.starts_with("HTTP/1.1 403 Refused (not on the allowlist)"), "{said}");
    let (code, said) = house.run("curl", &["-sS", &format!("https://{}/f", hidden.authority())]).await;
    assert!(code == 56 && said.contains("403"), "{code} {said}");
    let (code, said) = house.run("sh", &["-c", &by_socks(&url(&hidden))]).await;
    assert!(code == 97 && said.contains("SOCKS5"), "{code} {said}");
    let (code, said) = house.run("curl", &["-sS", "-i", "http://169.254.169.254/latest/"]).await;
    assert!(code == 0 && said.contains("metadata address 169.254.169.254"), "{said}");
    // A program that names no proxy has no network at all.
    let (code, said) = house.run("curl", &["-sS", "--noproxy", "*", "--max-time", "5", &url(&listed)]).await;
    assert!(code != 0 && !said.contains("over http"), "{said}");

    assert_eq!((listed.asked().len(), secure.asked().len(), hidden.asked().len()), (2, 1, 0));
    let traffic = house.release().await.expect("programs used the network");
    // Three of the requests were HTTP that the proxy could see.
    assert_eq!((traffic.connections, traffic.requests, traffic.refused), (4, 3, 4));
    assert!(traffic.sent_bytes > 0 && traffic.received_bytes > 0);
    assert!(house.refused().contains(&("localhost".to_owned(), hidden.port, "not on the allowlist".to_owned())));
}

#[tokio::test]
async fn git_clones_over_the_proxy() {
    if lacks(&["git"]) {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.current_dir(made.path()).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
        let output = command.args(["-c", "user.name=t", "-c", "user.email=t@a.test"]).args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    std::fs::create_dir(made.path().join("r")).unwrap();
    std::fs::write(made.path().join("r/hello.txt"), "cloned\n").unwrap();
    git(&["-C", "r", "init", "-q", "-b", "main"]);
    git(&["-C", "r", "add", "."]);
    git(&["-C", "r", "commit", "-q", "-m", "first"]);
    git(&["clone", "-q", "--bare", "r", "r.git"]);
    git(&["-C", "r.git", "update-server-info"]);
    let site = Site::of(files_below(&made.path().join("r.git"), "/r.git")).await;
    let hidden = Site::of(files_below(&made.path().join("r.git"), "/r.git")).await;
    let mut house = house(&[&site]).await;
    let (code, said) = house.run("git", &["clone", "-q", &format!("http://{}/r.git", site.authority()), "r"]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(house.does("filesystem.read", json!({"path": "r/hello.txt"})).await["content"], "cloned\n");
    let (code, said) = house.run("git", &["clone", "-q", &format!("http://{}/r.git", hidden.authority()), "s"]).await;
    assert!(code != 0 && said.contains("403") && hidden.asked().is_empty(), "{said}");
}

#[tokio::test]
async fn python_and_pip_fetch_over_the_proxy() {
    if lacks(&["python3", "pip"]) {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    let wheel = "toy-1.0-py3-none-any.whl";
    let script = "import sys,zipfile
z=zipfile.ZipFile(sys.argv[1],'w')
z.writestr('toy.py','answer=42\\n')
z.writestr('toy-1.0.dist-info/METADATA','Metadata-Version: 2.1\\nName: toy\\nVersion: 1.0\\n')
z.writestr('toy-1.0.dist-info/WHEEL','Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
z.writestr('toy-1.0.dist-info/RECORD','')
z.close()";
    let built = Command::new("/usr/bin/python3").args(["-c", script]).arg(made.path().join(wheel)).status().unwrap();
    assert!(built.success());
    let mut files = files_below(made.path(), "/packages");
    files.extend(file("/simple/toy/", &format!("<html><body><a href=\"/packages/{wheel}\">{wheel}</a></body></html>")));
    let site = Site::of(files).await;
    let mut house = house(&[&site]).await;
    let index = format!("http://{}/simple/", site.authority());
    let arguments = [
        "download",
        "-q",
        "--no-deps",
        "--no-cache-dir",
        "--disable-pip-version-check",
        "-i",
        &index,
        "--trusted-host",
        "localhost",
        "-d",
        "got",
        "toy",
    ];
    let (code, said) = house.run("pip", &arguments).await;
    assert_eq!(code, 0, "{said}");
    assert!(house.work_folder().join("got").join(wheel).exists());
    let fetch = |url: &str| {
        format!(
            "import urllib.request as r\ntry: print(r.urlopen('{url}').read().decode())\nexcept r.HTTPError as e: print(e.code, e.reason)"
        )
    };
    let (_, said) = house.run("python3", &["-c", &fetch(&index.replace("/simple/", "/simple/toy/"))]).await;
    assert!(said.contains(wheel), "{said}");
    let (_, said) = house.run("python3", &["-c", &fetch("http://pypi.example/simple/")]).await;
    assert_eq!(said, "403 Refused (not on the allowlist)\n");
}

/// Tries each way out that needs no proxy; prints one line each.
const DIRECT: &str = "
import socket, sys
host, port, udp, only = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
def tell(name, way):
    if only and name not in only: return
    try: way(); print(name, 'open')
    except OSError as e: print(name, 'closed')
def datagram(at):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.sendto(b'out', at); s.recv(9)
tell('tcp-loopback', lambda: socket.create_connection(('127.0.0.1', port), 2))
tell('tcp-host', lambda: socket.create_connection((host, port), 2))
tell('tcp-public', lambda: socket.create_connection(('93.184.216.34', 80), 2))
tell('udp-loopback', lambda: datagram(('127.0.0.1', udp)))
tell('udp-host', lambda: datagram((host, udp)))
tell('udp-public', lambda: datagram(('8.8.8.8', 53)))
tell('dns', lambda: socket.getaddrinfo('a.example.com', 80))
tell('tcp6', lambda: socket.create_connection(('2606:4700::1', 80), 2))
tell('raw', lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
tell('packet', lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
tell('vsock', lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).connect((2, 22)))
tell('proxy', lambda: socket.create_connection(('127.0.0.1', 3128), 2))
tell('listen', lambda: socket.create_server(('127.0.0.1', 3129)))
";

#[tokio::test]
async fn node_and_npm_fetch_over_the_proxy() {
    if lacks(&["node", "npm", "tar"]) {
        return;
    }
    let made = tempfile::tempdir().unwrap();
    std::fs::create_dir(made.path().join("package")).unwrap();
    let package = json!({"name": "toy", "version": "1.0.0", "main": "index.js"});
    std::fs::write(made.path().join("package/package.json"), package.to_string()).unwrap();
    std::fs::write(made.path().join("package/index.js"), "module.exports = 42\n").unwrap();
    let packed = Command::new("tar").args(["czf", "toy.tgz", "package"]).current_dir(made.path()).status().unwrap();
    assert!(packed.success());
    let tarball = std::fs::read(made.path().join("toy.tgz")).unwrap();
    // The packument names the site's own port, which is known once it listens: the first one only holds the tarball.
    let archive = Site::of(HashMap::from([("/toy.tgz".to_owned(), tarball)])).await;
    let dist = json!({"tarball": format!("http://{}/toy.tgz", archive.authority())});
    let version = json!({"name": "toy", "version": "1.0.0", "main": "index.js", "dist": dist});
    let toy = json!({"name": "toy", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}});
    let registry = Site::of(file("/toy", &toy.to_string())).await;
    let mut house = house(&[&archive, &registry]).await;
    let from = format!("http://{}/", registry.authority());
    let install = ["install", "--no-audit", "--no-fund", "--no-update-notifier", "--registry", &from, "toy"];
    let (code, said) = house.run("npm", &install).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(house.run("node", &["-p", "require('toy')"]).await, (json!(0), "42\n".to_owned()));
    let hidden = "fetch('http://hidden.example/').then(r => console.log(r.status), e => console.log('unproxied'))";
    let (_, said) = house.run("node", &["-e", hidden]).await;
    // What reads the variable since 22.21 and 24.
    let (_, version) = house.run("node", &["-p", "process.versions.node"]).await;
    let numbers: Vec<u32> = version.trim().split('.').map(|number| number.parse().unwrap()).collect();
    let knows = numbers[0] >= 24 || (numbers[0] == 22 && numbers[1] >= 21);
    assert_eq!(said.trim(), if knows { "403" } else { "unproxied" }, "node {version}");
    assert_eq!(house.run("node", &["-p", "process.env.NODE_USE_ENV_PROXY"]).await.1, "1\n");
}

#[tokio::test]
async fn a_program_reaches_its_own_server_past_the_proxy_and_a_listed_one_of_the_hosts_through_it() {
    if lacks(&["python3"]) {
        return;
    }
    let site = Site::of(file("/f", "the host's")).await;
    let own = "import http.server as h, threading, urllib.request as r
class S(h.BaseHTTPRequestHandler):
  def do_GET(s): s.send_response(200); s.end_headers(); s.wfile.write(b'its own')
  def log_message(s, *a): pass
s = h.HTTPServer(('127.0.0.1', 0), S); threading.Thread(target=s.serve_forever, daemon=True).start()
print(r.urlopen(f'http://localhost:{s.server_port}/').read().decode())";
    let mut house = House::process(allow(&["example.com"]), &data("authority.pem")).await;
    assert_eq!(house.run("python3", &["-c", own]).await, (json!(0), "its own\n".to_owned()));
    let mut named = self::house(&[&site]).await;
    let get = format!("import urllib.request as r; print(r.urlopen('http://{}/f').read().decode())", site.authority());
    assert_eq!(named.run("python3", &["-c", &get]).await, (json!(0), "the host's\n".to_owned()));
}

#[tokio::test]
async fn no_other_way_leads_out() {
    if lacks(&["python3"]) {
        return;
    }
    let site = Site::of(file("/f", "reached")).await;
    let udp = UdpSocket::bind("0.0.0.0:0").unwrap();
    udp.set_nonblocking(true).unwrap();
    let (port, datagrams) = (site.port.to_string(), udp.local_addr().unwrap().port().to_string());
    let host = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.connect("192.0.2.1:9")?;
        Ok(socket.local_addr()?.ip().to_string())
    });
    // The host's own address where it has one beside its loopback.
    let host = host.unwrap_or_else(|_| "127.0.0.2".to_owned());
    let mut house = house(&[&site]).await;
    let (_, said) = house.run("python3", &["-c", DIRECT, &host, &port, &datagrams]).await;
    let open: Vec<&str> = said.lines().filter(|line| line.ends_with(" open")).collect();
    // Its own loopback is its own.
    assert_eq!(open, ["proxy open", "listen open"], "{said}");
    assert_eq!(said.lines().count(), 13, "{said}");
    assert!(udp.recv(&mut [0; 9]).is_err(), "a datagram came out");
    assert!(site.asked().is_empty());
    // Controls: outside of a jail the ways to this host are open, and inside the proxy leads to the same place.
    let local = ["tcp-loopback", "udp-loopback", "udp-host"];
    let arguments = ["-c", DIRECT, &host, &port, &datagrams];
    let outside = Command::new("/usr/bin/python3").args(arguments).args(local).output().unwrap();
    let outside = String::from_utf8_lossy(&outside.stdout).into_owned();
    assert!(outside.contains("tcp-loopback open") && udp.recv(&mut [0; 9]).is_ok(), "{outside}");
    let url = format!("http://{}/f", site.authority());
    assert_eq!(house.does("network.http_request", json!({"url": url})).await["body"], "reached");
    let get = format!("import urllib.request as r; print(r.urlopen('{url}').read().decode())");
    assert_eq!(house.run("python3", &["-c", &get]).await, (json!(0), "reached\n".to_owned()));
}

#[tokio::test]
async fn in_mode_deny_the_host_itself_stays_closed() {
    if lacks(&["curl"]) {
        return;
    }
    let site = Site::of(file("/f", "reached")).await;
    let mut house = House::process(network(NetworkMode::Deny, &[], &["evil.test"]), &data("authority.pem")).await;
    for host in ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "127.0.0.1.", "0.0.0.0"] {
        let url = format!("http://{host}:{}/f", site.port);
        let (code, said) = house.run("curl", &["-sS", "-i", "--noproxy", "", &url]).await;
        assert!(code == 0 && said.contains(" address ") && said.starts_with("HTTP/1.1 403 Refused"), "{host}: {said}");
    }
    assert!(site.asked().is_empty());
    // Control: named, it is reached.
    let named = network(NetworkMode::Deny, &[&site.authority()], &["evil.test"]);
    let mut house = House::process(named, &data("authority.pem")).await;
    let (_, said) = house.run("curl", &["-sS", &format!("http://localhost:{}/f", site.port)]).await;
    assert_eq!(said, "reached");
}

#[tokio::test]
async fn calls_speak_tls_to_whom_the_hosts_authorities_vouch_for_and_never_go_back_to_http() {
    let plain = Site::of(file("/f", "plain")).await;
    let files =
        file("/f", "over https").into_iter().chain(file("/down", &format!("Location: http://{}/f", plain.authority())));
    let secure = Site::over_tls(files.collect()).await;
    let mut house = house(&[&plain, &secure]).await;
    let url = |path: &str| json!({"url": format!("https://{}{path}", secure.authority())});
    assert_eq!(house.does("network.http_request", url("/f")).await["body"], "over https");
    let down = house.does("network.http_request", url("/down")).await;
    assert_eq!(down["location"], format!("http://{}/f", plain.authority()));
    assert!(plain.asked().is_empty());
    let mut arguments = url("/f");
    arguments["path"] = json!("f");
    house.does("network.download", arguments).await;
    assert_eq!(house.does("filesystem.read", json!({"path": "f"})).await["content"], "over https");
    // Control: an authority that is not known.
    let mut stranger = House::process(allow(&[&secure.authority()]), &data("server.pem")).await;
    let (code, told) = stranger.fails("network.http_request", url("/f")).await;
    assert!(code == "tls" && told.contains("certificate"), "{code}: {told}");
}

#[tokio::test]
async fn a_jails_connections_are_bounded_and_end_with_it() {
    if lacks(&["python3"]) {
        return;
    }
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let authority = format!("localhost:{}", server.local_addr().unwrap().port());
    let mut bounded = allow(&[&authority]);
    bounded.connections_max = 2;
    let mut house = House::process(bounded, &data("authority.pem")).await;
    let script = "
import socket, sys, time
def tunnel():
    s = socket.create_connection(('127.0.0.1', 3128)); s.sendall(b'CONNECT %s HTTP/1.1\\r\\n\\r\\n' % sys.argv[1].encode())
    print(s.recv(4096).split(b'\\r\\n')[0].decode(), flush=True); return s
held = [tunnel(), tunnel(), tunnel()]
held[0].sendall(b'held')
time.sleep(600)
";
    let lease = house.begin("process.run", json!({"command": "python3", "args": ["-c", script, authority]})).await;
    let (mut first, _) = server.accept().await.unwrap();
    let (mut second, _) = server.accept().await.unwrap();
    let mut held = [0; 4];
    first.read_exact(&mut held).await.unwrap();
    assert_eq!(&held, b"held");
    let said = house.printed(lease, "connections").await;
    assert_eq!(said, "HTTP/1.1 200 OK\nHTTP/1.1 200 OK\nHTTP/1.1 403 Refused (connections: 2)\n");
    let traffic = house.release().await.expect("it used the network");
    assert_eq!((traffic.connections, traffic.sent_bytes, traffic.refused), (2, 4, 1));
    for stream in [&mut first, &mut second] {
        assert_eq!(stream.read(&mut held).await.unwrap_or(0), 0, "the tunnel is open behind its jail's end");
    }
}
