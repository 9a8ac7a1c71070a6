//! The gateway API of hospitals' platforms, and that it says what proxies decide.

use std::collections::{BTreeMap, BTreeSet};

use graygate_control::control::ExplainAsked;
use graygate_control::gateway::Question;
use graygate_control::people::{Principal, Role, Via};
use serde_json::{Value, json};

use crate::harness::{Answer, Client};
use crate::stores::{Process, World, until};

const HOSPITAL: &str = "hospital: {services: [patient, portal], gray: gray, release: release}\n";

fn setting() -> Value {
    json!({
        "grayVersion": "v8.0.1", "releaseVersion": "v8.0.0",
        "grayUserIds": {"JTP": ["u1", "u2"], "HIS": ["u3"]},
        "grayCustomerIds": ["c1", "u2"],
        "grayHospitals": ["H1"],
        "grayVersionDomains": ["Gray.Example.com"],
        "releasePaths": {"/patient/pay": "why", "/health": ""},
        "grayPaths": ["/patient/new/.*", "/x[0-9]+"],
    })
}

async fn begin(world: &mut World) -> (Process, Client) {
    let process = world.start().await;
    let li = process.person("li", Role::Editor).await;
    let service =
        "# ours\naliases: {gray: v2}\ninstances: [{address: \"127.0.0.1:9001\", version: release}]\n";
    let puts =
        json!({"services/patient": service, "services/portal": "{}\n", "routes/all": "service: patient\n"});
    li.post("/changes", json!({"puts": puts})).await.is(200);
    (process, li)
}

#[track_caller]
fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    assert_eq!((&told["code"], &told["message"]), (&json!(200), &json!("success")));
    told["data"].clone()
}

#[track_caller]
fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.headers["content-type"], "application/json");
    let told = answer.json();
    assert_eq!(told["code"], status);
    assert_eq!(told.as_object().unwrap().len(), 3, "{told}");
    told["message"].as_str().unwrap().to_owned()
}

fn with(base: &Value, more: Value) -> Value {
    let mut whole = base.clone();
    whole.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    whole
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_kept_as_documents_over_a_directory() {
    a_setting_is_kept(World::directory(HOSPITAL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_is_kept_as_documents_over_etcd() {
    a_setting_is_kept(World::etcd(HOSPITAL)).await;
}

async fn a_setting_is_kept(mut world: World) {
    let (_process, li) = begin(&mut world).await;
    let empty = ok(li.get("/gateway/syn").await);
    assert_eq!((&empty["grayVersion"], &empty["releaseVersion"]), (&json!("v2"), &json!("release")));
    assert_eq!(empty["grayCustomerIds"], json!([]));
    assert_eq!(ok(li.get("/gateway/isGrayUser?userId=c1").await), json!(false));
    refused(li.post("/gateway/setting", setting()).await, 400);
    refused(li.get("/gateway/infoByUserId").await, 400);

    let sent = with(&setting(), json!({"revision": empty["revision"], "password": "secret"}));
    let kept = ok(li.post("/gateway/setting", sent.clone()).await);
    assert_ne!(kept["revision"], empty["revision"]);
    let mut expected = setting();
    expected["grayVersionDomains"] = json!(["gray.example.com"]);
    let mut plain = kept.clone();
    plain.as_object_mut().unwrap().remove("revision");
    assert_eq!(plain, expected, "nothing else is answered, and no password");
    assert_eq!(ok(li.get("/gateway/syn").await), kept);
    // Ordinary documents, which people read, and a service's text keeps its comment.
    assert_eq!(li.get("/lists/gray-users.JTP").await.is(200).text(), "u1\nu2\n");
    assert_eq!(li.get("/lists/gray-domains").await.is(200).text(), "gray.example.com\n");
    let service = li.get("/documents/services/patient").await.is(200).text();
    assert!(service.starts_with("# ours\n") && service.contains("v8.0.1"), "{service}");
    assert!(li.get("/documents/services/portal").await.is(200).text().contains("v8.0.0"));
    for rule in [
        "customers",
        "users",
        "users.JTP",
        "users.HIS",
        "hospitals",
        "domains",
        "gray-paths",
        "release-paths",
    ] {
        let text = li.get(&format!("/documents/rules/hospital.{rule}")).await.is(200).text();
        assert!(text.contains("patient") && text.contains("portal"), "{rule}: {text}");
    }
    let problems = li.get("/documents?kind=rule").await.is(200).json();
    for item in problems["items"].as_array().unwrap() {
        assert_eq!(item["problems"], json!([]), "{item}");
    }

    // An older save, and one that empties.
    refused(li.post("/gateway/setting", sent).await, 409);
    let emptying = with(&setting(), json!({"revision": kept["revision"], "grayHospitals": []}));
    assert!(refused(li.post("/gateway/setting", emptying.clone()).await, 409).contains("grayHospitals"));
    assert_eq!(ok(li.get("/gateway/syn").await), kept, "a refused save changes nothing");
    let emptied = ok(li.post("/gateway/setting", with(&emptying, json!({"allowEmpty": true}))).await);
    assert_eq!(emptied["grayHospitals"], json!([]));

    // What a person changes in a list is in the setting, and an older revision no longer fits.
    li.post("/lists/gray-customers/members", json!({"add": ["c9"]})).await.is(200);
    until("the member is there", async || {
        ok(li.get("/gateway/syn").await)["grayCustomerIds"].as_array().unwrap().contains(&json!("c9"))
    })
    .await;
    refused(
        li.post("/gateway/setting", with(&setting(), json!({"revision": emptied["revision"]}))).await,
        409,
    );
    let now = ok(li.get("/gateway/syn").await);
    // An application that is left out goes with its list; saving the same again changes nothing.
    let without = with(&now, json!({"grayUserIds": {"JTP": ["u1"]}, "allowEmpty": true}));
    let saved = ok(li.post("/gateway/setting", without).await);
    assert_eq!(saved["grayUserIds"], json!({"JTP": ["u1"]}));
    li.get("/lists/gray-users.HIS").await.is(404);
    li.get("/documents/rules/hospital.users.HIS").await.is(404);
    assert_eq!(ok(li.post("/gateway/setting", saved.clone()).await), saved);
    let wrong = with(&saved, json!({"grayPaths": ["(?=x)"], "grayUserIds": {"A_B": ["x"]}}));
    refused(li.post("/gateway/setting", wrong).await, 422);
    let wrong = with(&saved, json!({"grayPaths": ["(?=x)"]}));
    assert!(refused(li.post("/gateway/setting", wrong).await, 422).contains("grayPaths"));
    refused(li.post("/gateway/setting", with(&saved, json!({"grayuserids": {}}))).await, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_saved_by_their_members_over_a_directory() {
    long_lists_are_saved(World::directory(HOSPITAL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_are_saved_by_their_members_over_etcd() {
    long_lists_are_saved(World::etcd(HOSPITAL)).await;
}

/// More than one transaction holds: written list by list, and afterwards one member is one small write.
async fn long_lists_are_saved(mut world: World) {
    let (_process, li) = begin(&mut world).await;
    let empty = ok(li.get("/gateway/syn").await);
    let mut customers: Vec<String> = (0..150_000).map(|number| format!("customer-{number}")).collect();
    let sent = with(&setting(), json!({"revision": empty["revision"], "grayCustomerIds": customers}));
    let kept = ok(li.post("/gateway/setting", sent).await);
    assert_eq!(kept["grayCustomerIds"].as_array().unwrap().len(), customers.len());
    assert_eq!(ok(li.get("/gateway/isGrayUser?userId=customer-149999").await), json!(true));
    customers.swap_remove(7);
    customers.push("one-more".into());
    let sent = with(&setting(), json!({"revision": kept["revision"], "grayCustomerIds": customers}));
    let kept = ok(li.post("/gateway/setting", sent).await);
    assert_eq!(kept["grayCustomerIds"].as_array().unwrap().len(), customers.len());
    for (customer, is) in [("one-more", true), ("customer-7", false), ("customer-8", true)] {
        assert_eq!(
            ok(li.get(&format!("/gateway/isGrayUser?userId={customer}")).await),
            json!(is),
            "{customer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_roles_are_told_over_a_directory() {
    versions_and_roles(World::directory(HOSPITAL)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_and_roles_are_told_over_etcd() {
    versions_and_roles(World::etcd(HOSPITAL)).await;
}

async fn versions_and_roles(mut world: World) {
    let (process, li) = begin(&mut world).await;
    let empty = ok(li.get("/gateway/syn").await);
    ok(li.post("/gateway/setting", with(&setting(), json!({"revision": empty["revision"]}))).await);
    let told = |version: &str, role: &str| json!({"application_version": version, "application_role": role});
    for (path, sign, expected) in [
        ("infoByUserId?userId=c1", None, told("v8.0.1", "2")),
        ("infoByUserId?userId=u1", None, told("v8.0.0", "1")),
        ("info?customerId=u1", None, told("v8.0.1", "2")),
        ("info?customerId=u3", None, told("v8.0.0", "1")),
        ("info?customerId=u3", Some("HIS_BUSI"), told("v8.0.1", "2")),
        ("info?customerId=c1", Some("HIS_BUSI"), told("v8.0.0", "1")),
        ("info?customerId=c1", Some("ANY_CUST"), told("v8.0.1", "2")),
        ("info?hospital=H1&customerId=stranger", Some("HIS_BUSI"), told("v8.0.1", "2")),
        ("info?domain=GRAY.example.com:8443", None, told("v8.0.1", "2")),
        ("info?domain=gray.example.com&path=/health", None, told("v8.0.0", "1")),
        ("info?path=/patient/new/1", None, told("v8.0.1", "2")),
        ("info", None, told("v8.0.0", "1")),
    ] {
        let client = sign.map_or(li.clone(), |sign| li.with("Domainsign", sign));
        assert_eq!(ok(client.get(&format!("/gateway/{path}")).await), expected, "{path} {sign:?}");
    }
    assert_eq!(ok(li.get("/gateway/isGrayUser?userId=c1").await), json!(true));
    assert_eq!(ok(li.get("/gateway/isGrayUser?userId=u1").await), json!(false));
    let both = |gray: &str, release: &str| json!({"grayVersion": gray, "releaseVersion": release});
    assert_eq!(ok(li.post("/gateway/version/info", json!({})).await), both("v8.0.1", "v8.0.0"));
    let changed =
        li.post("/gateway/version/update", json!({"grayVersion": "v8.1", "releaseVersion": "v8.0.1"})).await;
    assert_eq!(ok(changed), both("v8.1", "v8.0.1"));
    assert_eq!(ok(li.get("/gateway/infoByUserId?userId=c1").await), told("v8.1", "2"));
    refused(li.post("/gateway/version/update", json!({"grayVersion": "a b"})).await, 422);
    refused(li.post("/gateway/version/update", json!({})).await, 400);
    refused(li.get("/gateway/info?domain=a%20b").await, 400);

    // Rights are as everywhere, in the envelope.
    refused(Client::at(process.address).get("/gateway/syn").await, 401);
    refused(li.get("/gateway/none").await, 404);
    let viewer = process.person("wang", Role::Viewer).await;
    ok(viewer.get("/gateway/syn").await);
    ok(viewer.post("/gateway/version/info", json!({})).await);
    refused(viewer.post("/gateway/setting", json!({"revision": 1})).await, 403);
    refused(viewer.post("/gateway/version/update", both("a", "b")).await, 403);
    refused(process.person("rao", Role::Reporter).await.get("/gateway/syn").await, 403);
    let records = li.get("/audit").await.is(200).json();
    let records = records["items"].as_array().unwrap();
    let has = |action: &str, result: &str| {
        records.iter().any(|record| record["action"] == action && record["result"] == result)
    };
    assert!(has("gateway.setting", "ok") && has("gateway.versions", "ok"), "{records:?}");
    assert!(has("gateway.setting", "refused") && has("gateway.versions", "refused"), "{records:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_is_waited_for_over_a_directory() {
    a_second_person_is(World::directory(&format!("{HOSPITAL}four_eyes: [patient]\n"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_person_is_waited_for_over_etcd() {
    a_second_person_is(World::etcd(&format!("{HOSPITAL}four_eyes: [patient]\n"))).await;
}

async fn a_second_person_is(mut world: World) {
    let process = world.start().await;
    let li = process.person("li", Role::Editor).await;
    let zhao = process.person("zhao", Role::Approver).await;
    li.new_one().put("/documents/services/portal", "{}\n").await.is(201);
    let waits =
        li.new_one().put("/documents/services/patient", "{}\n").await.is(202).json()["proposal"].clone();
    let path = format!("/proposals/{}/approve", waits["id"].as_str().unwrap());
    zhao.post(&path, json!({"hash": waits["hash"]})).await.is(200);
    let empty = ok(li.get("/gateway/syn").await);
    let answer = li.post("/gateway/setting", with(&setting(), json!({"revision": empty["revision"]}))).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let proposal = answer.json()["data"]["proposal"].clone();
    assert_eq!(ok(li.get("/gateway/syn").await), empty);
    let path = format!("/proposals/{}/approve", proposal["id"].as_str().unwrap());
    zhao.post(&path, json!({"hash": proposal["hash"]})).await.is(200);
    assert_eq!(ok(li.get("/gateway/syn").await)["grayHospitals"], json!(["H1"]));
    let answer = li.post("/gateway/version/update", json!({"grayVersion": "v9"})).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_hospital_nothing_is_there() {
    let mut world = World::directory("");
    let (_process, li) = begin(&mut world).await;
    for path in ["syn", "info", "infoByUserId?userId=1", "isGrayUser?userId=1"] {
        assert!(refused(li.get(&format!("/gateway/{path}")).await, 404).contains("hospital:"), "{path}");
    }
}

/// A request that the filter of the old gateway sees.
#[derive(Clone, Default, Debug)]
struct Seen {
    sign: Option<&'static str>,
    customer: Option<String>,
    user: Option<String>,
    hospital: Option<String>,
    domain: String,
    path: String,
}

/// The sentence about the filter, one step after another: the last match counts.
fn filter_says_gray(setting: &Setting, seen: &Seen) -> bool {
    let mut gray = false;
    let sign = seen.sign.unwrap_or_default();
    if sign.ends_with("CUST") && seen.customer.as_ref().is_some_and(|id| setting.customers.contains(id)) {
        gray = true;
    }
    if let Some(user) = seen.user.as_ref().filter(|user| !user.is_empty()) {
        let app = if sign.is_empty() { "JTP" } else { sign.split('_').next().unwrap() };
        gray = setting.users.get(app).is_some_and(|users| users.contains(user));
    }
    if seen.hospital.as_ref().is_some_and(|code| setting.hospitals.contains(code)) {
        gray = true;
    }
    if setting.domains.contains(&seen.domain) {
        gray = true;
    }
    let is_gray_path = |prefix: &&str| {
        seen.path
            .strip_prefix(*prefix)
            .is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_digit())
    };
    if setting.gray_prefixes.iter().any(is_gray_path) {
        gray = true;
    }
    if setting.release_paths.contains(&seen.path) {
        gray = false;
    }
    gray
}

#[derive(Default)]
struct Setting {
    users: BTreeMap<&'static str, BTreeSet<String>>,
    customers: BTreeSet<String>,
    hospitals: BTreeSet<String>,
    domains: BTreeSet<String>,
    /// A digit stands behind each.
    gray_prefixes: Vec<&'static str>,
    release_paths: BTreeSet<String>,
}

/// A small generator of its own, so that a failure can be run again.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }

    fn some(&mut self, name: &str, end: u64) -> BTreeSet<String> {
        (0..end).filter(|_| self.below(3) == 0).map(|number| format!("{name}{number}")).collect()
    }

    fn one(&mut self, name: &str, end: u64) -> Option<String> {
        let number = self.below(end + 1);
        (number < end).then(|| format!("{name}{number}"))
    }
}

const SIGNS: [Option<&str>; 12] = [
    None,
    Some("JTP"),
    Some("JTP_CUST"),
    Some("JTP_BUSI"),
    Some("HIS"),
    Some("HIS_CUST"),
    Some("HIS_X_CUST"),
    Some("HISX_BUSI"),
    Some("LIS_BUSI"),
    Some("CUST"),
    Some("_CUST"),
    Some("his_CUSTX"),
];

/// 100,000 requests over twenty settings: the API's answer, the proxies' decision and the sentence are one.
#[tokio::test(flavor = "multi_thread")]
async fn api_explain_and_the_filter_agree() {
    let mut world = World::directory(HOSPITAL);
    let (process, li) = begin(&mut world).await;
    let who = Principal::own("test", Via::Command);
    let mut dice = Dice(20_261_126);
    let (mut grays, mut asked) = (0, 0);
    for round in 0..20 {
        let setting = Setting {
            users: ["JTP", "HIS", "CUST"].map(|app| (app, dice.some("u", 30))).into(),
            customers: dice.some("u", 30),
            hospitals: dice.some("H", 20),
            domains: dice.some("d", 10).into_iter().map(|name| format!("{name}.example.com")).collect(),
            gray_prefixes: ["/a", "/b/", "/用户/"].into_iter().filter(|_| dice.below(2) == 0).collect(),
            release_paths: dice.some("/a", 10).into_iter().chain(dice.some("/b/", 10)).collect(),
        };
        let patterns =
            setting.gray_prefixes.iter().map(|prefix| format!("{prefix}[0-9]")).collect::<Vec<_>>();
        let release: BTreeMap<&String, &str> = setting.release_paths.iter().map(|path| (path, "")).collect();
        let revision = ok(li.get("/gateway/syn").await)["revision"].clone();
        let body = json!({
            "revision": revision, "allowEmpty": true, "grayUserIds": setting.users,
            "grayCustomerIds": setting.customers, "grayHospitals": setting.hospitals,
            "grayVersionDomains": setting.domains, "releasePaths": release, "grayPaths": patterns,
        });
        ok(li.post("/gateway/setting", body).await);
        for _ in 0..5_000 {
            let is_customer_alone = dice.below(2) == 0;
            let sign = SIGNS[dice.below(SIGNS.len() as u64) as usize];
            let mut seen = Seen {
                sign,
                hospital: dice.one("H", 60),
                domain: dice
                    .one("d", 30)
                    .map_or("other.example.com".into(), |name| format!("{name}.example.com")),
                path: match dice.below(5) {
                    0 => format!("/a{}", dice.below(14)),
                    1 => format!("/b/{}", dice.below(14)),
                    2 => format!("/用户/{}", dice.below(14)),
                    _ => "/".into(),
                },
                ..Seen::default()
            };
            // The API asks for one user, by the sign; a request may carry both.
            let ends_in_customer = sign.is_some_and(|sign| sign.ends_with("CUST"));
            if is_customer_alone {
                let id = dice.one("u", 33);
                *(if ends_in_customer { &mut seen.customer } else { &mut seen.user }) = id;
            } else {
                (seen.customer, seen.user) = (dice.one("u", 33), dice.one("u", 33));
            }
            let expected = filter_says_gray(&setting, &seen);
            let told = process.control.explain(&who, question(&seen)).await.unwrap();
            assert_eq!(told["version"] == "gray", expected, "{round} {seen:?} {told}");
            if is_customer_alone {
                let question = Question {
                    hospital: seen.hospital.clone(),
                    domain: Some(seen.domain.clone()),
                    path: Some(seen.path.clone()),
                    user: seen.customer.clone().or(seen.user.clone()),
                    sign: seen.sign.map(str::to_owned),
                };
                let told = process.control.gateway_version(&who, &question).unwrap();
                assert_eq!(told.application_role == "2", expected, "{round} {seen:?}");
                asked += 1;
            }
            grays += usize::from(expected);
        }
    }
    println!("{grays} of 100000 gray, {asked} asked of the API");
    assert!((20_000..80_000).contains(&grays) && asked > 40_000, "{grays} {asked}");
}

fn question(seen: &Seen) -> ExplainAsked {
    let mut headers = vec![];
    let mut push = |name: &str, value: Option<&str>| {
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    };
    push("Domain-Sign", seen.sign);
    push("Application-Cust-Id", seen.customer.as_deref());
    push("Application-Busi-Id", seen.user.as_deref());
    push("Application-Hospital-Source-Code", seen.hospital.as_deref());
    let body = json!({"url": format!("http://{}{}", seen.domain, seen.path), "headers": headers});
    serde_json::from_value(body).unwrap()
}
