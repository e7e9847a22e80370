//! The calls that we make, at a real node.

use std::io::Read;
use std::time::Duration;

use lighthouse::fault::Trouble;
use lighthouse::gateway::Gateway;
use lighthouse::kubo::Kubo;
use lighthouse::outward::fault_within;
use serde_json::Value;

use crate::home::ask;
use crate::{MIB, address, content, trouble};

fn kubo() -> Kubo {
    Kubo::new(&address("IPFS_API"), None).expect("an address")
}

/// The node's gateway, by both names of this machine: by one of them it redirects.
fn gateways() -> [Gateway; 2] {
    let direct = address("IPFS_GATEWAY");
    let by_name = direct.replace("127.0.0.1", "localhost");
    assert_ne!(direct, by_name, "IPFS_GATEWAY is on 127.0.0.1");
    [direct, by_name].map(|url| Gateway::new(&url, &[]))
}

fn whole(mut body: impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).expect("the body is whole");
    bytes
}

#[test]
#[ignore = "needs a node"]
fn content_of_all_sizes_gets_our_cid_and_comes_back() {
    let (kubo, gateways) = (kubo(), gateways());
    assert!(!kubo.version().expect("a version").version.is_empty());
    for size in [0, 1, MIB, MIB + 1, 3 * MIB, 100 * MIB] {
        let (bytes, cid) = content(size, 1);
        let length = size as u64;
        kubo.add("a name", &cid, length, &bytes[..])
            .expect("the CID is ours");
        assert!(
            kubo.is_pinned(&cid).expect("an answer"),
            "{size} bytes are pinned"
        );
        assert_eq!(kubo.size(&cid).expect("a length"), length);
        assert!(
            whole(kubo.cat(&cid, 0..length).expect("readable")) == bytes,
            "{size} by RPC"
        );
        for gateway in &gateways {
            let body = gateway.read(&cid, length, 0..length).expect("readable");
            assert!(whole(body) == bytes, "{size} by {gateway:?}");
            assert_eq!(gateway.size(&cid).expect("a length"), length);
        }
        if size > 1 {
            let (start, end) = (size / 3, size - 1);
            let range = start as u64..end as u64;
            let body = kubo.cat(&cid, range.clone()).expect("readable");
            assert!(whole(body) == bytes[start..end], "a range of {size} by RPC");
            for gateway in &gateways {
                let body = gateway.read(&cid, length, range.clone());
                assert!(
                    whole(body.expect("readable")) == bytes[start..end],
                    "a range of {size} by {gateway:?}"
                );
            }
        }
    }
}

#[test]
#[ignore = "needs a node"]
fn pins_come_and_go() {
    let kubo = kubo();
    let (bytes, cid) = content(MIB + 7, 2);
    kubo.unpin(&cid).expect("nothing to give up is no fault");
    assert!(!kubo.is_pinned(&cid).expect("an answer"));
    kubo.add("a name", &cid, bytes.len() as u64, &bytes[..])
        .expect("added");
    kubo.add("a name", &cid, bytes.len() as u64, &bytes[..])
        .expect("added again");
    assert!(kubo.is_pinned(&cid).expect("an answer"));
    kubo.unpin(&cid).expect("given up");
    assert!(!kubo.is_pinned(&cid).expect("an answer"));
    kubo.pin(&cid, "a name", Duration::from_secs(20))
        .expect("its blocks are still there");
    assert!(kubo.is_pinned(&cid).expect("an answer"));
}

#[test]
#[ignore = "needs a node"]
fn what_is_asked_for_wrongly_is_refused() {
    let kubo = kubo();
    let (bytes, cid) = content(2 * MIB, 3);
    let (_, other) = content(2 * MIB, 4);
    let lied = trouble(kubo.add("a name", &other, bytes.len() as u64, &bytes[..]));
    assert!(matches!(&lied, Trouble::Lied { received, .. } if *received == cid.to_string()));
    // More bytes than the file has.
    let mut body = kubo.cat(&cid, 0..3 * MIB as u64).expect("it begins");
    let cut = body
        .read_to_end(&mut Vec::new())
        .expect_err("it ends early");
    let cut = trouble(Err::<(), _>(fault_within(cut, |error| {
        panic!("no fault: {error}")
    })));
    assert!(
        matches!(cut, Trouble::Cut { received, .. } if received == 2 * MIB as u64),
        "{cut:?}"
    );
}

#[test]
#[ignore = "needs a node"]
fn only_a_gateway_that_does_not_redirect_is_for_clients() {
    let [direct, by_name] = gateways();
    assert_eq!(direct.check().expect("it is up"), None);
    let why = by_name.check().expect("it is up").expect("it redirects");
    assert!(why.contains("http://bafkqaaa.ipfs.localhost:"), "{why}");
    assert!(why.contains("write 127.0.0.1"), "{why}");
}

#[test]
#[ignore = "needs a node"]
fn a_folder_that_is_pinned_holds_its_files_and_a_direct_pin_holds_one_block() {
    let kubo = kubo();
    let say = |call: String| {
        let (status, said) = ask(&address("IPFS_API"), &call);
        assert_eq!(status, 200, "{call}: {said}");
        said
    };
    let (bytes, cid) = content(2 * MIB, 7);
    kubo.add("a name", &cid, bytes.len() as u64, &bytes[..])
        .expect("added");
    say("files/rm?arg=/folder&recursive=true&force=true".into());
    say("files/mkdir?arg=/folder&cid-version=1".into());
    say(format!("files/cp?arg=/ipfs/{cid}&arg=/folder/file"));
    let stat: Value = serde_json::from_str(&say("files/stat?arg=/folder".into())).expect("JSON");
    let folder = stat["Hash"].as_str().expect("a CID");
    say(format!("pin/add?arg={folder}"));
    kubo.unpin(&cid).expect("its own pin goes");
    assert!(kubo.is_pinned(&cid).expect("an answer"), "by the folder's");
    kubo.unpin(&cid)
        .expect("it has none any more, which is no fault");
    say(format!("pin/rm?arg={folder}"));
    assert!(!kubo.is_pinned(&cid).expect("an answer"));
    say(format!("pin/add?arg={cid}&recursive=false"));
    assert!(!kubo.is_pinned(&cid).expect("an answer"), "not its blocks");
    say(format!("pin/rm?arg={cid}&recursive=false"));
}

#[test]
#[ignore = "needs a node"]
fn a_gateway_is_not_taken_for_a_node() {
    let kubo = Kubo::new(&address("IPFS_GATEWAY"), None).expect("an address");
    let other = trouble(kubo.version());
    assert!(
        matches!(&other, Trouble::Protocol(what) if what.contains("RPC")),
        "{other:?}"
    );
}

#[test]
#[ignore = "needs a node"]
fn what_is_not_there_is_missing_in_every_way() {
    let (kubo, gateways) = (kubo(), gateways());
    let (_, cid) = content(3 * MIB, 8);
    let length = 3 * MIB as u64;
    for gateway in &gateways {
        let missing = trouble(gateway.read(&cid, length, 0..length).map(drop));
        assert!(matches!(missing, Trouble::Missing(_)), "{missing:?}");
        let missing = trouble(gateway.size(&cid));
        assert!(matches!(missing, Trouble::Missing(_)), "{missing:?}");
    }
    for missing in [
        trouble(kubo.cat(&cid, 0..length).map(drop)),
        trouble(kubo.size(&cid)),
        trouble(kubo.pin(&cid, "a name", Duration::from_secs(1))),
    ] {
        assert!(matches!(missing, Trouble::Missing(_)), "{missing:?}");
    }
}
