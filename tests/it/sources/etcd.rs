use crate::sources::following::{Following, SOON};
use crate::sources::relay::Relay;
use crate::support::etcd::{Etcd, key};
use crate::support::eventually;
use etcd_client::{Txn, TxnOp};
use graygate_store::etcd::{self, Password};
use std::time::{Duration, Instant};

#[tokio::test]
async fn documents_are_listed_then_followed() {
    let etcd = Etcd::start().await;
    etcd.put("rules/a", "1").await;
    etcd.put("lists/pilot/p1", "x\n").await;
    etcd.put("fleet/proxy-1", "{}").await;
    etcd.client().await.put("/graygate10/rules/other", "", None).await.unwrap();
    let strayed = etcd.put("rule/a", "1").await;
    let following = Following::etcd(etcd.settings());
    following.reaches(strayed).await;
    assert_eq!(following.names(), ["rules/a", "lists/pilot/p1"]);
    let strays = following.updates.borrow().as_ref().unwrap().set.strays.clone();
    assert_eq!(strays.len(), 1);
    assert_eq!(strays[0].document(), "/graygate/rule/a");
    assert!(following.status.up());

    let put = etcd.put("rules/b", "2").await;
    following.says("rules/b", "2").await;
    assert_eq!(following.revision(), put, "the revision is the store's");
    etcd.delete("rules/a").await;
    following.lacks("rules/a").await;
    etcd.delete("rule/a").await;
    eventually(SOON, || following.updates.borrow().as_ref().unwrap().set.strays.is_empty()).await;
    let loaded = etcd::load(&etcd.settings()).await.unwrap();
    assert!(loaded.same_content(&following.updates.borrow().as_ref().unwrap().set));
    following.stop().await;
}

#[tokio::test]
async fn more_documents_than_a_page_are_all_there() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    for chunk in 0..10 {
        let puts: Vec<_> =
            (0..100).map(|n| TxnOp::put(key(&format!("rules/r{chunk}-{n:03}")), "x: 1", None)).collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let set = etcd::load(&etcd.settings()).await.unwrap();
    assert_eq!(set.documents.len(), 1_000);
    assert_eq!(set.revision, 11);
}

#[tokio::test]
async fn a_transaction_arrives_as_one_update() {
    let etcd = Etcd::start().await;
    let following = Following::etcd(etcd.settings());
    following.reaches(1).await;
    let mut client = etcd.client().await;
    let mut updates = following.updates.clone();
    updates.mark_unchanged();
    for round in 0..20 {
        let mut puts: Vec<_> =
            (0..126).map(|n| TxnOp::put(key(&format!("rules/r{n}")), format!("{round}"), None)).collect();
        // Keys of the fleet and strays before them are watched apart or not at all, which changes nothing.
        puts.push(TxnOp::put(key("fleet/proxy"), format!("{round}"), None));
        puts.push(TxnOp::put(key("Rules/x"), format!("{round}"), None));
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    loop {
        tokio::time::timeout(SOON, updates.changed()).await.unwrap().unwrap();
        let set = updates.borrow_and_update().as_ref().unwrap().set.clone();
        assert_eq!(set.documents.len(), 126);
        let bodies: std::collections::BTreeSet<_> =
            set.documents.values().map(|raw| raw.body.to_vec()).collect();
        assert_eq!(bodies.len(), 1, "revision {} shows a transaction in halves", set.revision);
        if bodies.contains(b"19".as_slice()) {
            break;
        }
    }
}

#[tokio::test]
async fn rapid_changes_are_gathered() {
    let etcd = Etcd::start().await;
    let client = etcd.client().await;
    let following = Following::etcd(etcd.settings());
    following.reaches(1).await;
    let mut updates = following.updates.clone();
    let counting = tokio::spawn(async move {
        let mut count = 0;
        while updates.changed().await.is_ok() {
            count += 1;
            if updates.borrow_and_update().as_ref().unwrap().set.revision == 1_001 {
                break;
            }
        }
        count
    });
    let writers: Vec<_> = (0..20)
        .map(|writer| {
            let mut client = client.clone();
            tokio::spawn(async move {
                for n in 0..50 {
                    client.put(key(&format!("rules/r{writer}-{n}")), "x", None).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let count = tokio::time::timeout(SOON, counting).await.unwrap().unwrap();
    assert_eq!(following.names().len(), 1_000);
    assert!(count < 500, "{count} updates for 1000 changes");
}

#[tokio::test]
async fn a_change_among_ten_thousand_is_seen_at_once() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    for chunk in 0..100 {
        let puts: Vec<_> = (0..100)
            .map(|n| TxnOp::put(key(&format!("rules/r{chunk}-{n}")), "services: [patient]\n", None))
            .collect();
        client.txn(Txn::new().and_then(puts)).await.unwrap();
    }
    let following = Following::etcd(etcd.settings());
    following.reaches(101).await;
    let mut waits = Vec::new();
    let mut updates = following.updates.clone();
    for round in 0..50 {
        updates.mark_unchanged();
        let put = client.put(key("rules/r5-5"), format!("{round}"), None);
        let revision = put.await.unwrap().header().unwrap().revision() as u64;
        let acknowledged = Instant::now();
        tokio::time::timeout(
            SOON,
            updates.wait_for(|update| update.as_ref().unwrap().set.revision >= revision),
        )
        .await
        .unwrap()
        .unwrap();
        waits.push(acknowledged.elapsed());
    }
    waits.sort();
    println!("median {:?}, slowest {:?}", waits[25], waits[49]);
    assert!(waits[25] < Duration::from_millis(50), "the median is {:?}", waits[25]);
}

#[tokio::test]
async fn nothing_the_fleet_writes_is_sent_to_a_proxy() {
    let etcd = Etcd::start().await;
    let relay = Relay::before(&etcd.endpoint()).await;
    let mut settings = etcd.settings();
    settings.endpoints = vec![relay.endpoint.clone()];
    let following = Following::etcd(settings);
    etcd.put("rules/a", "1").await;
    following.says("rules/a", "1").await;
    let mut client = etcd.client().await;
    let before = relay.sent();
    for n in 0..200 {
        client.put(key(&format!("fleet/proxy-{}", n % 10)), "x".repeat(270), None).await.unwrap();
    }
    // Whatever was sent of those came before this.
    etcd.put("rules/a", "2").await;
    following.says("rules/a", "2").await;
    let sent = relay.sent() - before;
    println!("{sent} bytes for 200 writes of the fleet and one change");
    assert!(sent < 54_000 / 2, "{sent} bytes");
    following.stop().await;
}

#[tokio::test]
async fn keys_on_both_sides_of_the_fleet_are_followed() {
    let mut etcd = Etcd::start().await;
    let mut settings = etcd.settings();
    settings.prefix = "/edge/gray/".to_owned();
    let write = async |etcd: &Etcd, keys: &[(&str, &str)]| {
        let puts = keys.iter().map(|(name, text)| TxnOp::put(format!("/edge/gray/{name}"), *text, None));
        etcd.client().await.txn(Txn::new().and_then(puts.collect::<Vec<_>>())).await.unwrap();
    };
    write(&etcd, &[("Rules/old", ""), ("rules/a", "1"), ("fleet/x", ""), ("zone", "")]).await;
    let following = Following::etcd(settings);
    let strays = || {
        let updates = following.updates.borrow();
        let strays = &updates.as_ref().unwrap().set.strays;
        strays.iter().map(|stray| stray.document()).collect::<Vec<_>>()
    };
    following.says("rules/a", "1").await;
    assert_eq!(strays(), ["/edge/gray/Rules/old", "/edge/gray/zone"]);
    write(&etcd, &[("Rules/new", ""), ("rules/a", "2"), ("fleet", "")]).await;
    following.says("rules/a", "2").await;
    eventually(SOON, || strays().len() == 4).await;
    // All of it is found again, whether the events are still there or not.
    for compacts in [false, true] {
        etcd.kill();
        following.is_up(false).await;
        etcd.restart().await;
        let (stray, text) = if compacts { ("Rules/b", "4") } else { ("Rules/a", "3") };
        write(&etcd, &[(stray, ""), ("rules/a", text)]).await;
        if compacts {
            etcd.compact().await;
        }
        following.says("rules/a", text).await;
        eventually(SOON, || strays().contains(&format!("/edge/gray/{stray}"))).await;
    }
    assert_eq!(following.names(), ["rules/a"]);
    following.stop().await;
}

#[tokio::test]
async fn changes_made_while_away_arrive_even_after_a_compaction() {
    let mut etcd = Etcd::start().await;
    etcd.put("rules/a", "1").await;
    etcd.put("rules/b", "1").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/b", "1").await;
    etcd.pause();
    following.is_up(false).await;
    assert_eq!(following.names(), ["rules/a", "rules/b"], "the last documents stay");
    assert!(following.status.stale_for(Instant::now()) > Duration::from_secs(2));
    etcd.resume();
    // Whether or not the watch is back by now: the events between are gone after the restart.
    etcd.delete("rules/a").await;
    etcd.put("rules/c", "3").await;
    etcd.compact().await;
    etcd.restart().await;
    following.says("rules/c", "3").await;
    assert_eq!(following.names(), ["rules/b", "rules/c"]);
    following.is_up(true).await;
}

#[tokio::test]
async fn a_killed_store_is_followed_again_and_nothing_is_lost() {
    let mut etcd = Etcd::start().await;
    etcd.put("rules/a", "1").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/a", "1").await;
    for round in 0..3 {
        etcd.kill();
        following.is_up(false).await;
        assert_eq!(following.text("rules/a"), Some("1".to_owned()));
        etcd.restart().await;
        etcd.put("rules/b", format!("{round}")).await;
        following.says("rules/b", &format!("{round}")).await;
        following.is_up(true).await;
    }
}

#[tokio::test]
async fn a_store_that_starts_later_is_found() {
    let mut etcd = Etcd::start().await;
    let put = etcd.put("rules/a", "1").await;
    etcd.kill();
    let following = Following::etcd(etcd.settings());
    eventually(SOON, || following.status.stale_for(Instant::now()) > Duration::from_millis(300)).await;
    assert_eq!(following.revision(), 0);
    assert!(!following.status.up());
    etcd.restart().await;
    following.reaches(put).await;
    assert!(following.status.up());
}

#[tokio::test]
async fn replaced_data_is_noticed_even_at_the_same_revision() {
    let mut etcd = Etcd::start().await;
    etcd.put("rules/a", "old").await;
    etcd.put("rules/b", "old").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/b", "old").await;

    etcd.wipe().await;
    eventually(SOON, || following.names().is_empty()).await;
    assert_eq!(following.revision(), 1, "the store begins again");
    etcd.put("rules/c", "new").await;
    following.says("rules/c", "new").await;

    // The other way round: the new data stands at the revision of the old before anyone looks.
    etcd.kill();
    following.is_up(false).await;
    let slow = Following::etcd(etcd.settings());
    etcd.wipe().await;
    etcd.put("rules/c", "other").await;
    following.says("rules/c", "other").await;
    slow.says("rules/c", "other").await;
    assert_eq!(following.revision(), 2);
}

#[tokio::test]
async fn a_paused_store_is_down_and_comes_back_by_itself() {
    let etcd = Etcd::start().await;
    etcd.put("rules/a", "1").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/a", "1").await;
    etcd.pause();
    let begun = Instant::now();
    following.is_up(false).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "noticed after {:?}", begun.elapsed());
    etcd.resume();
    etcd.put("rules/a", "2").await;
    following.says("rules/a", "2").await;
    following.is_up(true).await;
}

#[tokio::test]
async fn one_dead_endpoint_of_two_does_not_matter() {
    let etcd = Etcd::start().await;
    let mut dead = Etcd::start().await;
    dead.kill();
    etcd.put("rules/a", "1").await;
    for endpoints in [vec![dead.endpoint(), etcd.endpoint()], vec![etcd.endpoint(), dead.endpoint()]] {
        let mut settings = etcd.settings();
        settings.endpoints = endpoints;
        assert_eq!(etcd::load(&settings).await.unwrap().documents.len(), 1);
        let following = Following::etcd(settings);
        following.says("rules/a", "1").await;
        following.stop().await;
    }
}

#[tokio::test]
async fn logins_are_made_and_wrong_ones_are_told() {
    let mut etcd = Etcd::start().await;
    // Credentials for a store that asks for none do no harm.
    let mut early = etcd.settings();
    early.username = Some("root".to_owned());
    early.password = Some(Password::Text("secret".to_owned()));
    etcd.put("rules/a", "1").await;
    assert_eq!(etcd::load(&early).await.unwrap().documents.len(), 1);

    let anonymous = etcd.settings();
    etcd.require_login("secret").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/a", "1").await;
    etcd.put("rules/b", "2").await;
    following.says("rules/b", "2").await;
    etcd.restart().await;
    etcd.put("rules/c", "3").await;
    following.says("rules/c", "3").await;

    let refused = etcd::load(&anonymous).await.unwrap_err().to_string();
    assert!(refused.contains("user name is empty"), "{refused}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong\n").unwrap();
    let mut settings = etcd.settings();
    settings.password = Some(Password::File(file.path().to_owned()));
    let wrong = etcd::load(&settings).await.unwrap_err().to_string();
    assert!(wrong.contains("authentication failed"), "{wrong}");
    assert!(!wrong.contains("wrong"), "{wrong}");
    std::fs::write(file.path(), "secret\n").unwrap();
    assert_eq!(etcd::load(&settings).await.unwrap().documents.len(), 3);
}

#[tokio::test]
async fn tls_is_spoken_and_checked() {
    let etcd = Etcd::start_tls().await;
    etcd.put("rules/a", "1").await;
    let following = Following::etcd(etcd.settings());
    following.says("rules/a", "1").await;
    etcd.put("rules/a", "2").await;
    following.says("rules/a", "2").await;

    let other = Etcd::start_tls().await;
    let mut settings = etcd.settings();
    settings.tls = other.settings().tls;
    assert!(etcd::load(&settings).await.is_err(), "a stranger's certificate was believed");
    let mut settings = etcd.settings();
    settings.tls.as_mut().unwrap().domain = Some("elsewhere".to_owned());
    assert!(etcd::load(&settings).await.is_err(), "another name was believed");
    settings.tls.as_mut().unwrap().domain = Some("localhost".to_owned());
    assert_eq!(etcd::load(&settings).await.unwrap().documents.len(), 1);
}

#[tokio::test]
async fn a_big_state_is_complete_again_after_a_restart() {
    let mut etcd = Etcd::start().await;
    let part = |n: usize| format!("{n}-{}\n", "x".repeat(1 << 20));
    for n in 0..66 {
        etcd.put(&format!("lists/big/p{n:02}"), part(n)).await;
    }
    let following = Following::etcd(etcd.settings());
    eventually(SOON, || following.names().len() == 66).await;
    let before = following.updates.borrow().as_ref().unwrap().set.clone();
    etcd.kill();
    following.is_up(false).await;
    etcd.restart().await;
    etcd.put("lists/big/p01", "small\n").await;
    etcd.put("rules/a", "1").await;
    etcd.delete("lists/big/p02").await;
    following.says("lists/big/p01", "small\n").await;
    following.says("rules/a", "1").await;
    following.lacks("lists/big/p02").await;
    let after = following.updates.borrow().as_ref().unwrap().set.clone();
    assert_eq!(after.documents.len(), 66);
    for (id, raw) in &after.documents {
        let same = before.documents.get(id).is_some_and(|old| std::sync::Arc::ptr_eq(old, raw));
        let changed = ["lists/big/p01", "rules/a"].contains(&id.to_string().as_str());
        assert_eq!(same, !changed, "{id}");
    }
}
