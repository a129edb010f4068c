use super::*;
use crate::testing::{OWNER, app, found};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use tenure_core::aggregate::Command;
use tenure_core::secret;

const VALUE: &[u8] = b"a value of a secret";

/// Sets a secret as the API does.
async fn set(app: &Arc<App>, name: &str) -> SecretId {
    let id = app.committer.mint_secret();
    let sealed = app.vault.seal(id, 1, VALUE).unwrap();
    app.vault.remember(id, name, 1, Zeroizing::new(VALUE.to_vec())).await;
    let sealed = app.committer.sealed_payload(sealed);
    let set = secret::Command::Set { name: name.to_string(), sealed };
    app.committer.commit(OWNER, Command::Secret(id, set)).await.unwrap();
    id
}

fn locked(app: &App) -> String {
    app.vault.state().unwrap_err().why
}

#[tokio::test]
async fn a_value_is_opened_for_its_secret_and_version_by_its_key_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    let id = set(&app, "github").await;
    let mode = std::fs::metadata(folder.path().join("vault.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the key that it makes is its user's alone");
    let sealed = app.vault.seal(id, 2, VALUE).unwrap();
    assert!(!sealed.windows(8).any(|part| VALUE.windows(8).any(|of_it| of_it == part)));
    assert_eq!(app.vault.open(id, 2, &sealed).unwrap().as_slice(), VALUE, "the control");
    let other = app.committer.mint_secret();
    let mut changed = sealed.clone();
    changed[30] ^= 1;
    for (secret, version, bytes) in [(id, 1, &sealed), (other, 2, &sealed), (id, 2, &changed)] {
        assert!(app.vault.open(secret, version, bytes).is_err());
    }
    assert!(app.vault.open(id, 2, &sealed[..10]).is_err());
}

#[tokio::test]
async fn a_wrong_a_lost_and_an_open_key_leave_the_vault_locked_and_the_right_one_opens_it_again() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    let key = folder.path().join("key");
    let write = |path: &Path, text: &str, mode: u32| {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write(&key, &"k".repeat(44), 0o600);
    unlock(&app, KeySource::File(key.clone()), folder.path()).await.unwrap();
    set(&app, "github").await;
    let wrong = folder.path().join("wrong");
    write(&wrong, &"w".repeat(44), 0o600);
    unlock(&app, KeySource::File(wrong.clone()), folder.path()).await.unwrap();
    assert!(locked(&app).contains("another one"), "{}", locked(&app));
    assert!(app.vault.seal(app.committer.mint_secret(), 1, VALUE).is_err(), "two keys never mix");
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    assert!(locked(&app).contains("vault.key is gone"), "{}", locked(&app));
    write(&wrong, "short", 0o600);
    unlock(&app, KeySource::File(wrong), folder.path()).await.unwrap();
    assert!(locked(&app).contains("at least 32"), "{}", locked(&app));
    write(&key, &"k".repeat(44), 0o644);
    unlock(&app, KeySource::File(key.clone()), folder.path()).await.unwrap();
    assert!(locked(&app).contains("read by others"), "{}", locked(&app));
    write(&key, &"k".repeat(44), 0o600);
    unlock(&app, KeySource::File(key), folder.path()).await.unwrap();
    assert!(app.vault.state().is_ok(), "the control");
    assert!(app.vault.scrubber().finds(VALUE));
}

#[tokio::test]
async fn a_passphrase_opens_what_it_sealed_and_another_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    let by = |text: &str| KeySource::Passphrase(text.to_string().into());
    unlock(&app, by("correct horse battery"), folder.path()).await.unwrap();
    set(&app, "github").await;
    unlock(&app, by("correct horse batteries"), folder.path()).await.unwrap();
    assert!(locked(&app).contains("another one"));
    unlock(&app, by("correct horse battery"), folder.path()).await.unwrap();
    assert!(app.vault.state().is_ok());
    unlock(&app, by("short"), folder.path()).await.unwrap();
    assert!(locked(&app).contains("at least 12"));
}

#[tokio::test]
async fn a_value_is_in_no_payload_and_stays_scrubbed_once_it_was_rotated_or_revoked() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    let plain = app.committer.payload(VALUE.to_vec());
    assert_eq!(plain.bytes(), VALUE, "the control");
    let id = set(&app, "github").await;
    assert_eq!(app.committer.payload(VALUE.to_vec()).bytes(), b"[secret github]");
    let sealed = app.vault.seal(id, 2, b"another value").unwrap();
    app.vault.remember(id, "github", 2, Zeroizing::new(b"another value".to_vec())).await;
    let rotate = secret::Command::Rotate { version: 2, sealed: app.committer.sealed_payload(sealed) };
    app.committer.commit(OWNER, Command::Secret(id, rotate)).await.unwrap();
    app.committer.commit(OWNER, Command::Secret(id, secret::Command::Revoke {})).await.unwrap();
    for value in [VALUE, b"another value"] {
        assert_eq!(app.committer.payload(value.to_vec()).bytes(), b"[secret github]");
    }
}

#[tokio::test]
async fn a_secret_whose_value_is_gone_is_unusable_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (app, _store) = app(folder.path());
    found(&app).await;
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    let kept = set(&app, "github").await;
    // One that is too large for a row is a file.
    let (id, value) = (app.committer.mint_secret(), vec![b'v'; 64 * 1024]);
    let sealed = app.committer.sealed_payload(app.vault.seal(id, 1, &value).unwrap());
    let hash = sealed.bound().hash.to_string();
    let set = secret::Command::Set { name: "large".to_string(), sealed };
    app.committer.commit(OWNER, Command::Secret(id, set)).await.unwrap();
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    assert!(!app.vault.is_gone(id) && app.vault.scrubber().finds(&value), "the control");
    std::fs::remove_file(folder.path().join("blobs").join(&hash[..2]).join(&hash)).unwrap();
    unlock(&app, KeySource::Made, folder.path()).await.unwrap();
    assert!(app.vault.state().is_ok() && app.vault.is_gone(id) && !app.vault.is_gone(kept));
    assert!(app.vault.scrubber().finds(VALUE) && app.vault.gone() == 1);
    assert!(app.vault.seal(kept, 2, VALUE).is_ok(), "others are set and used");
    app.vault.remember(id, "large", 2, Zeroizing::new(b"another value".to_vec())).await;
    assert!(!app.vault.is_gone(id), "until it has another");
}
