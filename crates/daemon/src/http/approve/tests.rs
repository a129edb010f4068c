use std::net::SocketAddr;
use std::sync::Arc;

use tenure_core::id::{ApprovalId, Mint};
use tenure_core::time::Time;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Link;
use crate::clock::SystemClock;
use crate::testing::Running;

async fn status(address: SocketAddr, method: &str, path: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_is_of_one_approval_until_its_time_is_over_and_one_by_another_hand_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let daemon = Running::start(folder.path(), Arc::new(SystemClock), &[]).await;
    let now = daemon.app.committer.now().at;
    let approval = ApprovalId::mint(&mut Mint::new(now, 1));
    let macs = daemon.app.records.reader().macs();
    let live = Link { approval, expires: now.plus_ms(60_000) }.path(macs);
    let over = Link { approval, expires: Time::from_millis(now.millis() - 1) }.path(macs);
    for method in ["GET", "POST"] {
        assert_eq!(status(daemon.address, method, &over).await, 409, "{method}");
    }
    assert_eq!(status(daemon.address, "GET", &live).await, 404, "the control: it is ours, and nothing is asked so");
    let longer = over.replace(&(now.millis() - 1).to_string(), &now.plus_ms(60_000).millis().to_string());
    let other = live.replace(&approval.to_string(), &ApprovalId::mint(&mut Mint::new(now, 2)).to_string());
    for forged in [longer, other, live.replace("approver", "owner"), format!("{live}0"), "/approve/".to_string() + "x"]
    {
        assert_eq!(status(daemon.address, "GET", &forged).await, 401, "{forged}");
    }
    for _ in 0..20 {
        status(daemon.address, "GET", "/approve/x").await;
    }
    assert_eq!(status(daemon.address, "GET", "/approve/x").await, 429, "guessing is bounded as that of keys is");
    daemon.stop().await;
}
