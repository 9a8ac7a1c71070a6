//! The import of the book, from manifest to first request: the page's own manifest, with addresses that answer.

use crate::commands::typed::{directory, text, typed};
use crate::harness::proxy::{Proxy, until};
use crate::harness::upstream::Upstream;
use crate::readme::pages::page;

/// Requests before the limit has to refuse one; it lets 51 through at once and 10 a second.
const MOST: usize = 2_000;

#[tokio::test(flavor = "multi_thread")]
async fn the_import_of_the_book_goes_from_manifest_to_first_request() {
    let page = page("docs/operating/importing.md");
    let manifests: Vec<String> =
        page.blocks("yaml").into_iter().filter(|block| block.contains("\napiVersion: ")).collect();
    assert_eq!(manifests.len(), 2);
    let cluster = directory(&[("shop-cluster.yaml", manifests.join("---\n").as_str())]);
    let file = cluster.path().join("shop-cluster.yaml");
    let out = cluster.path().join("shop-documents");

    let report = typed(&["import", "ingress-nginx", text(&file)]);
    let shown = page.blocks("text").into_iter().find(|block| block.starts_with("same ")).unwrap();
    assert_eq!((report.status, report.out), (0, shown), "{}", report.errors);
    assert_eq!(typed(&["import", "ingress-nginx", text(&file), "--out", text(&out)]).status, 0);
    assert_eq!(typed(&["check", text(&out)]).status, 0);
    let written = std::fs::read_to_string(out.join("routes/shop.yaml")).unwrap();
    let route = page.blocks("yaml").into_iter().find(|block| block.starts_with("# routes/shop\n")).unwrap();
    assert_eq!(route, format!("# routes/shop\n{written}"));

    // What runs is what was written, but for the addresses.
    let [stable, canary, shadow] =
        [Upstream::named("stable").await, Upstream::named("canary").await, Upstream::named("shadow").await];
    let mut documents = Vec::new();
    for name in [
        "routes/shop.yaml",
        "services/shop.yaml",
        "services/mirror-10.0.0.9.yaml",
        "rules/shop-canary-by-header.yaml",
        "rules/shop-canary-by-header-never.yaml",
        "rules/shop-canary-by-weight.yaml",
    ] {
        let mut text = std::fs::read_to_string(out.join(name)).unwrap();
        for (was, is) in [("10.1.0.4:8080", &stable), ("10.1.0.6:8080", &canary), ("10.0.0.9:8080", &shadow)]
        {
            text = text.replace(was, &is.address.to_string());
        }
        documents.push((name, text));
    }
    let documents: Vec<(&str, &str)> = documents.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let proxy = Proxy::start("", &documents).await;
    let mut connection = proxy.connect().await;
    let asked = [("Host", "shop.example"), ("x-canary", "always")];
    assert_eq!(connection.get("/cart", &asked).await.text(), "canary");
    until(async || shadow.count() == 1).await;
    assert_eq!(shadow.last().target(), "/cart");
    assert_eq!(shadow.last().header("x-graygate-mirror"), Some("1"));
    // Each line of metrics that the page shows is one that the proxy says.
    let lines = page.blocks("text").into_iter().find(|block| block.starts_with("graygate_")).unwrap();
    for line in lines.lines() {
        until(async || proxy.ask_admin("/metrics").await.text().lines().any(|said| said == line)).await;
    }
    let asked = [("Host", "shop.example"), ("x-canary", "never")];
    for _ in 0..MOST {
        let answer = connection.get("/cart", &asked).await;
        if answer.status() == 429 {
            assert!(answer.header("retry-after").is_some());
            return;
        }
        assert_eq!(answer.text(), "stable");
    }
    panic!("{MOST} requests in a row, and none is over the limit");
}
