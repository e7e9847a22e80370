//! What becomes of images where a node stops, or loses what it was given.

use lighthouse::store::pin::State;
use rustix::process::Signal;

use crate::home::{Home, Node, cid, gives, image};
use crate::world::{Ask, Blob, Hub, Line, await_some};

/// Where a pull is sent, once the gateway was checked.
fn sent_to(hub: &Hub, blob: &Blob) -> String {
    let target = format!("/v2/app/blobs/{}", blob.digest);
    await_some("the gateway's first check", || {
        let answer = hub.get(&target);
        (answer.status == 307).then(|| answer.header("Location").to_owned())
    })
}

/// What a client gets there; nothing if it breaks off.
fn follow(url: &str) -> Option<(u16, Vec<u8>)> {
    let rest = url.strip_prefix("http://").expect("a URL");
    let (address, path) = rest.split_once('/').expect("a path");
    let mut line = Line::to(address);
    line.say(
        Ask::get(format!("/{path}"))
            .with("Host", address)
            .with("Connection", "close")
            .bytes(),
    );
    let answer = line.try_hear("GET").ok()?;
    Some((answer.status, answer.body))
}

/// What the registry gives; nothing if it breaks off.
fn pull(hub: &Hub, blob: &Blob) -> Option<(u16, Vec<u8>)> {
    let mut line = hub.line();
    line.say(Ask::get(format!("/v2/app/blobs/{}", blob.digest)).bytes());
    let answer = line.try_hear("GET").ok()?;
    Some((answer.status, answer.body))
}

#[test]
#[ignore = "needs Kubo"]
fn an_image_goes_and_comes_back_by_either_name_of_its_gateway() {
    let node = Node::new();
    for (host, seed) in [("127.0.0.1", 1), ("localhost", 2)] {
        let home = Home::at(&node, host).with("KUBO_CACHE_SIZE", "0");
        let hub = home.run();
        let image = image(seed);
        hub.push("app", "v1", &image);
        home.reaches(&image, State::Pinned);
        home.leave(&image);
        for blob in &image.blobs {
            node.has_pinned(blob);
            if host == "127.0.0.1" {
                let url = sent_to(&hub, blob);
                assert_eq!(url, format!("{}/ipfs/{}", node.gateway(host), cid(blob)));
                assert!(follow(&url) == Some((200, blob.bytes.clone())));
            }
        }
        if host == "localhost" {
            hub.logged("blobs come through this registry instead");
            gives(&hub, &image);
            home.leave(&image);
            gives(&hub, &image);
        }
    }
}

#[test]
#[ignore = "needs Kubo"]
fn pins_that_are_removed_behind_our_back_are_missed_and_made_again() {
    let node = Node::new();
    let home = Home::at(&node, "127.0.0.1").with("REDIRECT_DISABLE", "true");
    let hub = home.run();
    let image = image(3);
    let blobs: Vec<&Blob> = image.blobs.iter().collect();
    hub.push("app", "v1", &image);
    home.reaches(&image, State::Pinned);

    // What is here goes on being served.
    node.forget(&blobs);
    gives(&hub, &image);
    drop(hub);

    // No copy is dropped that the node does not keep: it is sent again first.
    let home = home.with("KUBO_CACHE_SIZE", "0");
    let hub = home.run();
    hub.logged("is not pinned any more and travels again");
    home.leave(&image);
    image.blobs.iter().for_each(|blob| node.has_pinned(blob));
    gives(&hub, &image);
    home.leave(&image);

    // What is gone everywhere is a failure to the one who finds out, and whoever asks in order to
    // push has to. When the node has said that it keeps it no more, it is not here for anybody.
    node.forget(&blobs);
    for blob in &image.blobs {
        let target = format!("/v2/app/blobs/{}", blob.digest);
        hub.head(&target).expect(200);
        let answer = hub.get(&target).refuses(503, "UNKNOWN");
        assert!(answer.to_string().contains("does not have this content"));
        hub.head(&target).expect(404);
        let digest = blob.digest;
        hub.logged(&format!(
            "{digest} is not pinned any more and is nowhere else"
        ));
        await_some("it to be given up", || {
            let answer = hub.get(&target);
            assert!([404, 503].contains(&answer.status), "{answer}");
            (answer.status == 404).then_some(())
        });
    }
    hub.push("app", "v1", &image);
    home.leave(&image);
    image.blobs.iter().for_each(|blob| node.has_pinned(blob));
    gives(&hub, &image);
    home.leave(&image);
    // A registry that is killed may find what it has just dropped on its disk again.
    hub.signal(Signal::TERM);
    hub.end();

    // Where clients are sent to the node, it tells them itself.
    let home = home.with("REDIRECT_DISABLE", "false");
    let hub = home.run();
    node.forget(&blobs);
    for blob in &image.blobs {
        let (status, _) = follow(&sent_to(&hub, blob)).expect("an answer");
        assert_eq!(status, 404);
    }
}

#[test]
#[ignore = "needs Kubo"]
fn what_a_node_lost_before_it_was_pinned_is_sent_again() {
    let node = Node::new();
    let home = Home::at(&node, "127.0.0.1");
    let hub = home.run();
    let image = image(10);
    hub.push("app", "v1", &image);
    home.reaches(&image, State::Pinned);
    hub.kill();
    for blob in &image.blobs {
        node.forget(&[blob]);
        home.set_back(blob);
    }
    let hub = home.run();
    home.reaches(&image, State::Pinned);
    image.blobs.iter().for_each(|blob| node.has_pinned(blob));
    let log = hub.log();
    let is_storm = log.iter().any(|line| line.contains("network fails"));
    assert!(!is_storm, "others would wait for nothing: {log:#?}");
}

#[test]
#[ignore = "needs Kubo"]
fn a_file_whose_block_is_gone_never_ends_cleanly() {
    let node = Node::new();
    for (seed, number) in [(4, 0), (5, 2), (6, 3)] {
        let home = Home::at(&node, "127.0.0.1").with("KUBO_CACHE_SIZE", "0");
        let hub = home.run();
        let image = image(seed);
        let large = &image.blobs[1];
        hub.push("app", "v1", &image);
        home.leave(&image);
        node.lose_block(large, number);

        let url = sent_to(&hub, large);
        let got = follow(&url);
        let is_clean = got.is_some_and(|(status, _)| status < 500);
        assert!(!is_clean, "block {number} by the gateway");
        drop(hub);

        let home = home.with("REDIRECT_DISABLE", "true");
        let hub = home.run();
        let got = pull(&hub, large);
        assert!(
            got.as_ref().is_none_or(|(status, _)| *status == 503),
            "block {number} by the registry: {:?}",
            got.map(|(status, body)| (status, body.len()))
        );
        let told = hub.logged("is not to be had there: Kubo");
        assert!(told.contains(&cid(large)), "{told}");
        // It may break off before the answer began, or after.
        let is_clear = ["broke off", "does not have it"].map(|words| told.contains(words));
        assert!(is_clear.contains(&true), "{told}");
        assert!(!home.is_here(large));
    }
}

#[test]
#[ignore = "needs Kubo"]
fn a_node_that_stops_and_is_started_anew_loses_nothing() {
    let node = Node::new();
    let home = Home::at(&node, "127.0.0.1");
    let hub = home.run();
    let (before, during) = (image(7), image(8));
    hub.push("app", "before", &before);
    home.reaches(&before, State::Pinned);
    // Stopped in the middle of it, or just before or after: all must end alike.
    let large = Blob::noise(64 << 20, 9);
    hub.push_blob("app", &large);
    node.stop();
    hub.push("app", "during", &during);
    hub.logged("the content network fails");
    gives(&hub, &before);
    gives(&hub, &during);

    // As after an upgrade: a new process on the old repository, which it may migrate.
    node.start();
    home.reaches(&during, State::Pinned);
    await_some("the large blob", || {
        let (status, _) = node.ask(&format!("pin/ls?type=recursive&arg={}", cid(&large)));
        (status == 200).then_some(())
    });
    for blob in before.blobs.iter().chain(&during.blobs) {
        node.has_pinned(blob);
    }
    hub.logged("the content network answers again");
    drop(hub);
    let home = home.with("KUBO_CACHE_SIZE", "0");
    let hub = home.run();
    home.leave(&before);
    home.leave(&during);
    for blob in before.blobs.iter().chain(&during.blobs) {
        let url = sent_to(&hub, blob);
        assert!(follow(&url) == Some((200, blob.bytes.clone())));
    }
}
