//! `import`: from another gateway's file to documents that `check` accepts.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::commands::typed::{directory, text, typed};
use crate::harness::proxy::BINARY;

const INGRESS: &str = "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: web-canary
  annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: x-canary}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web2, port: {number: 80}}}}]}}]}
";

#[test]
fn what_is_written_is_accepted_and_decides() {
    let inputs = directory(&[
        ("in.yaml", INGRESS),
        (
            "nginx.conf",
            "upstream a { server 10.0.0.1; } upstream b { server 10.0.0.2; } split_clients $remote_addr $u { 50% b; * a; } server { location / { proxy_pass http://$u; } }",
        ),
        ("apisix.yaml", "routes: [{id: 1, uri: /x, upstream: {nodes: {\"10.0.0.1:80\": 1}}}]\n#END\n"),
        (
            "setting.json",
            "{\"code\": 200, \"data\": {\"revision\": 4, \"password\": \"x\", \"grayHospitals\": [\"H1\"], \"grayUserIds\": {\"JTP\": [1, \"#2\"]}, \"grayPaths\": [\"/a/.*\", \"(?=x)\"], \"releasePaths\": {\"/a/b\": \"why\"}}}",
        ),
        (
            "istio.yaml",
            "kind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [v], http: [{route: [{destination: {host: v, subset: a}}]}]}\n",
        ),
    ]);
    for (source, file, said) in [
        ("ingress-nginx", "in.yaml", "same      Ingress default/web, a.test/ -> web"),
        ("nginx", "nginx.conf", "another hash: who is in a share changes once"),
        ("apisix", "apisix.yaml", "same      route 1"),
        ("hospital", "setting.json", "left out  "),
        ("istio", "istio.yaml", "same      VirtualService default/v, http[0]"),
    ] {
        let out = inputs.path().join(source);
        let file = inputs.path().join(file);
        let report = typed(&["import", source, text(&file), "--out", text(&out)]);
        assert_eq!(report.status, 0, "{report:?}");
        assert!(report.out.contains(said), "{report:?}");
        let checked = typed(&["check", text(&out)]);
        assert_eq!(checked.status, 0, "{source}: {checked:?}");
        // Again it changes nothing; over something else it writes nothing.
        assert_eq!(typed(&["import", source, text(&file), "--out", text(&out)]).status, 0);
    }
    let out = inputs.path().join("ingress-nginx");
    let explained =
        typed(&["explain", "--documents", text(&out), "-H", "x-canary: always", "--json", "http://a.test/"]);
    let explained: Value = serde_json::from_str(&explained.out).unwrap();
    assert_eq!((&explained["service"], &explained["version"]), (&"web".into(), &"canary".into()));
    let out = inputs.path().join("hospital");
    for (id, path, version) in
        [("1", "/", "gray"), ("3", "/", "release"), ("3", "/a/c", "gray"), ("1", "/a/b", "release")]
    {
        let (documents, id) = (text(&out), format!("application-busi-id: {id}"));
        std::fs::create_dir_all(out.join("services")).unwrap();
        std::fs::create_dir_all(out.join("routes")).unwrap();
        std::fs::write(out.join("services/patient.yaml"), "{}\n").unwrap();
        std::fs::write(out.join("routes/all.yaml"), "service: patient\n").unwrap();
        let told =
            typed(&["explain", "--documents", documents, "-H", &id, "--json", &format!("http://a{path}")]);
        let told: Value = serde_json::from_str(&told.out).unwrap();
        assert_eq!(told["version"], version, "{id} {path}");
    }
    let nginx = inputs.path().join("nginx.conf");
    std::fs::create_dir_all(inputs.path().join("taken/services")).unwrap();
    std::fs::write(inputs.path().join("taken/services/u.yaml"), "{}\n").unwrap();
    let taken = inputs.path().join("taken");
    let refused = typed(&["import", "nginx", text(&nginx), "--out", text(&taken)]);
    assert_eq!(refused.status, 1);
    assert!(refused.errors.contains("import into an empty directory"), "{refused:?}");
    assert!(!taken.join("routes").exists(), "nothing is written");
}

#[test]
fn standard_input_and_json() {
    let mut child = Command::new(BINARY)
        .args(["import", "ingress-nginx", "-", "--json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), INGRESS.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["sums"]["same"], 4);
    assert_eq!(report["findings"][0]["verdict"], "same");
    assert_eq!(report["findings"][0]["documents"][0], "routes/web");
}

#[test]
fn what_cannot_be_read_is_a_failure_and_wrong_usage_is_not() {
    let inputs = directory(&[("empty.yaml", "# nothing\n")]);
    let empty = inputs.path().join("empty.yaml");
    assert_eq!(typed(&["import", "istio", text(&empty)]).status, 1);
    assert_eq!(typed(&["import", "istio", "/nowhere"]).status, 1);
    assert_eq!(typed(&["import", "istio"]).status, 2);
    assert_eq!(typed(&["import", "haproxy", text(&empty)]).status, 2);
}
