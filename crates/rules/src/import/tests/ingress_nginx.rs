//! Ingress objects as people write them.

use super::{has, shapes};
use crate::import::Source;

/// A main Ingress for `shop.test` and its canary with these annotations, which is what most have.
macro_rules! canary {
    ($($annotation:literal),*) => {
        concat!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop\nspec:\n  ingressClassName: nginx\n",
            "  rules:\n  - host: shop.test\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n",
            "        backend:\n          service:\n            name: shop\n            port:\n              number: 80\n",
            "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: shop-canary\n  annotations:\n",
            "    nginx.ingress.kubernetes.io/canary: \"true\"\n",
            $("    nginx.ingress.kubernetes.io/", $annotation, "\n",)*
            "spec:\n  ingressClassName: nginx\n",
            "  rules:\n  - host: shop.test\n    http:\n      paths:\n      - path: /\n        pathType: Prefix\n",
            "        backend:\n          service:\n            name: shop-v2\n            port:\n              number: 80\n",
        )
    };
}

/// One Ingress of one path.
macro_rules! one {
    ($path:literal, $kind:literal $(, $annotation:literal)*) => {
        concat!(
            "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: web\n  annotations:\n    kubernetes.io/ingress.class: nginx\n",
            $("    nginx.ingress.kubernetes.io/", $annotation, "\n",)*
            "spec:\n  rules:\n  - host: web.test\n    http:\n      paths:\n      - {path: \"", $path, "\", pathType: ", $kind,
            ", backend: {service: {name: web, port: {number: 8080}}}}\n",
        )
    };
}

shapes! { Source::IngressNginx;
    canary_by_weight: canary!("canary-weight: \"20\""),
        ["GET shop.test/x" => "shop/canary=20%"],
        ["close     Ingress default/shop-canary, canary-weight: 20: random per request becomes sticky per user",
         "same      Ingress default/shop, shop.test/ -> shop"];

    canary_by_header: canary!("canary-by-header: X-Canary"),
        ["GET shop.test/ | x-canary: always" => "shop/canary",
         "GET shop.test/ | X-Canary: never" => "shop/release",
         "GET shop.test/ | x-canary: yes" => "shop/release",
         "GET shop.test/" => "shop/release"],
        ["same      Ingress default/shop-canary, canary-by-header: X-Canary, `always`"];

    canary_by_header_and_weight: canary!("canary-by-header: canary", "canary-weight: \"50\""),
        ["GET shop.test/ | canary: always" => "shop/canary",
         "GET shop.test/ | canary: never" => "shop/release",
         "GET shop.test/ | canary: other" => "shop/canary=50%"],
        ["canary-weight: 50"];

    canary_by_header_value: canary!("canary-by-header: Region", "canary-by-header-value: \"cd\"", "canary-weight: \"10\""),
        ["GET shop.test/ | region: cd" => "shop/canary",
         "GET shop.test/ | region: never" => "shop/canary=10%",
         "GET shop.test/ | region: cdx" => "shop/canary=10%"],
        ["same      Ingress default/shop-canary, canary-by-header: Region = cd"];

    canary_by_header_pattern: canary!("canary-by-header: Region", "canary-by-header-pattern: \"cd|sz\""),
        ["GET shop.test/ | region: cd-1" => "shop/canary",
         "GET shop.test/ | region: asz" => "shop/canary",
         "GET shop.test/ | region: bj" => "shop/release"],
        ["same      Ingress default/shop-canary, canary-by-header-pattern: Region ~ cd|sz"];

    canary_by_anchored_pattern: canary!("canary-by-header: Region", "canary-by-header-pattern: \"^(cd|sz)$\""),
        ["GET shop.test/ | region: cd" => "shop/canary", "GET shop.test/ | region: cd1" => "shop/release"],
        [];

    canary_by_a_pattern_that_cannot_be_read: canary!("canary-by-header: Region", "canary-by-header-pattern: \"^(?!cd).*$\"", "canary-weight: \"100\""),
        ["GET shop.test/ | region: x" => "shop/canary"],
        ["left out  Ingress default/shop-canary, canary-by-header-pattern: Region ~ ^(?!cd).*$: the pattern"];

    canary_by_cookie: canary!("canary-by-cookie: users_from_Beijing"),
        ["GET shop.test/ | cookie: users_from_Beijing=always" => "shop/canary",
         "GET shop.test/ | cookie: a=b; users_from_Beijing=never" => "shop/release",
         "GET shop.test/ | cookie: users_from_Beijing=1" => "shop/release"],
        ["same      Ingress default/shop-canary, canary-by-cookie: users_from_Beijing, `never`"];

    header_before_cookie_before_weight: canary!("canary-by-header: h", "canary-by-cookie: c", "canary-weight: \"100\""),
        ["GET shop.test/ | h: never | cookie: c=always" => "shop/release",
         "GET shop.test/ | h: x | cookie: c=never" => "shop/release",
         "GET shop.test/ | cookie: c=x" => "shop/canary"],
        ["same      Ingress default/shop-canary, canary-weight: 100"];

    canary_weight_of_a_total: canary!("canary-weight: \"1\"", "canary-weight-total: \"1000\""),
        [], ["canary-weight: 1: random per request becomes sticky per user [rules/shop-canary-by-weight]"];

    canary_weight_of_an_odd_total: canary!("canary-weight: \"1\"", "canary-weight-total: \"300\""),
        [], ["1 of 300 becomes 0.33 %"];

    canary_weight_zero: canary!("canary-weight: \"0\""),
        ["GET shop.test/" => "shop/release"],
        ["same      Ingress default/shop-canary, no policy: it takes no requests"];

    canary_without_a_policy: canary!(),
        ["GET shop.test/" => "shop/release"],
        ["no policy: it takes no requests"];

    header_value_without_a_header: canary!("canary-by-header-value: x"),
        ["GET shop.test/" => "shop/release"],
        ["left out  Ingress default/shop-canary, a header's value `x`: no `canary-by-header` names the header"];

    annotations_of_a_canary_are_its_mains: canary!("canary-weight: \"30\"", "rewrite-target: /y"),
        ["GET shop.test/x" => "shop/canary=30%"],
        ["left out  Ingress default/shop-canary, rewrite-target: a canary has the settings of its main Ingress"];

    canary_for_another_path: "\
kind: Ingress
apiVersion: networking.k8s.io/v1
metadata: {name: main}
spec: {rules: [{host: a.test, http: {paths: [{path: /api, pathType: Prefix, backend: {service: {name: api, port: {number: 80}}}}]}}]}
---
kind: Ingress
apiVersion: networking.k8s.io/v1
metadata: {name: canary, annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-weight: '100'}}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: api2, port: {number: 80}}}}]}}]}
",
        ["GET a.test/api/x" => "api/release", "GET a.test/" => "404"],
        ["left out  Ingress default/canary, a.test/ -> api2: no main Ingress has the same host, path and pathType"];

    two_canaries_of_one_service: "\
apiVersion: v1
kind: List
items:
- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: main}, spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}}
- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: c2, creationTimestamp: '2024-02-01T00:00:00Z', annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: late}}, spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web-c2, port: {number: 80}}}}]}}]}}
- {apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {name: c1, creationTimestamp: '2024-01-01T00:00:00Z', annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: early}}, spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web-c1, port: {number: 80}}}}]}}]}}
",
        ["GET a.test/ | early: always" => "web/canary", "GET a.test/ | late: always" => "web/release"],
        ["left out  Ingress default/c2, a.test/ -> web-c2: Service web has the canary web-c1 already"];

    policy_belongs_to_the_service_and_not_the_path: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: main}
spec:
  rules:
  - host: a.test
    http:
      paths:
      - {path: /one, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
      - {path: /two, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata:
  name: canary
  annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-header: h}
spec:
  rules:
  - host: a.test
    http:
      paths:
      - {path: /one, pathType: Prefix, backend: {service: {name: web-new, port: {number: 80}}}}
",
        ["GET a.test/one | h: always" => "web/canary", "GET a.test/two/x | h: always" => "web/canary"], [];

    services_with_cluster_addresses: "\
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.10, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}]}}]}
",
        ["GET a.test/" => "web/release"],
        ["same      Service default/web", "2 same, 0 close, 0 left out"];

    instances_from_endpoints_of_both: "\
apiVersion: v1
kind: Endpoints
metadata: {name: web}
subsets: [{addresses: [{ip: 10.1.0.1}, {ip: 10.1.0.2}], ports: [{port: 8080}]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-new-abc, labels: {kubernetes.io/service-name: web-new}}
endpoints: [{addresses: [10.1.0.9], conditions: {ready: true}}, {addresses: [10.1.0.10], conditions: {ready: false}}]
ports: [{name: '', port: 8080}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web-new, annotations: {nginx.ingress.kubernetes.io/canary: 'true', nginx.ingress.kubernetes.io/canary-by-cookie: c}}
spec: {rules: [{http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web-new, port: {number: 80}}}}]}}]}
",
        ["GET any.test/ | cookie: c=always" => "web/canary"],
        ["0 left out"];

    the_oldest_api: "\
apiVersion: extensions/v1beta1
kind: Ingress
metadata:
  name: old
  annotations:
    kubernetes.io/ingress.class: nginx
spec:
  rules:
  - host: old.test
    http:
      paths:
      - path: /
        backend:
          serviceName: old
          servicePort: 80
",
        ["GET old.test/a" => "old/release"], ["same      Ingress default/old, old.test/ -> old"];

    a_list_in_json: r#"{"apiVersion": "v1", "kind": "IngressList", "items": [{"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "j", "namespace": "prod"}, "spec": {"rules": [{"host": "j.test", "http": {"paths": [{"path": "/j", "pathType": "Exact", "backend": {"service": {"name": "j", "port": {"number": 80}}}}]}}]}}]}"#,
        ["GET j.test/j" => "j/release", "GET j.test/j/x" => "404"], ["same      Ingress prod/j, j.test/j -> j"];

    prefix_by_element: one!("/app", "Prefix"),
        ["GET web.test/app" => "web/release", "GET web.test/app/x" => "web/release", "GET web.test/apple" => "404"],
        ["same      Ingress default/web, web.test/app -> web"];

    implementation_specific_is_a_prefix_of_text_there: one!("/app", "ImplementationSpecific"),
        ["GET web.test/app/x" => "web/release", "GET web.test/apple" => "404"],
        ["close     Ingress default/web, web.test/app -> web: only whole path elements: `/appx` was taken there and is not here"];

    rewrite_with_groups: one!("/something(/|$)(.*)", "ImplementationSpecific", "use-regex: \"true\"", "rewrite-target: /$2"),
        ["GET web.test/something" => "web/release /",
         "GET web.test/something/" => "web/release /",
         "GET web.test/something/new/x" => "web/release /new/x",
         "GET web.test/Something/new" => "web/release /new",
         "GET web.test/somethingelse" => "404"],
        ["same      Ingress default/web, web.test/something(/|$)(.*) -> web"];

    rewrite_to_the_root: one!("/old", "Prefix", "rewrite-target: /"),
        ["GET web.test/old/deep" => "web/release /", "GET web.test/older" => "web/release /"],
        ["same      Ingress default/web, web.test/old -> web"];

    rewrite_that_changes_the_query: one!("/q/(.*)", "Prefix", "rewrite-target: /x?id=$1"),
        ["GET web.test/q/1" => "404"],
        ["left out  Ingress default/web, web.test/q/(.*) -> web: `rewrite-target: /x?id=$1` changes the query"];

    patterns_of_a_host_are_asked_longest_first: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: r, annotations: {nginx.ingress.kubernetes.io/use-regex: 'true'}}
spec:
  rules:
  - host: r.test
    http:
      paths:
      - {path: /foo/bar, pathType: Prefix, backend: {service: {name: plain, port: {number: 80}}}}
      - {path: '/foo/.*', pathType: Prefix, backend: {service: {name: wide, port: {number: 80}}}}
      - {path: '/foo/bar/.+', pathType: Prefix, backend: {service: {name: deep, port: {number: 80}}}}
",
        ["GET r.test/foo/bar/x" => "deep/release", "GET r.test/foo/bar" => "plain/release", "GET r.test/foo/x" => "wide/release",
         "GET r.test/FOO/barn" => "plain/release"],
        ["4 same"];

    https_redirect_of_tls_hosts: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: s}
spec:
  tls: [{hosts: [s.test], secretName: s-tls}]
  rules: [{host: s.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 443}}}}]}}]
",
        ["GET http://s.test/x?y" => "308 https://s.test/x?y", "GET https://s.test/x" => "s/release"],
        ["left out  Ingress default/s, the certificate s-tls: put its `tls.crt`"];

    no_https_redirect_where_it_is_off: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: s, annotations: {nginx.ingress.kubernetes.io/ssl-redirect: 'false', nginx.ingress.kubernetes.io/backend-protocol: HTTPS}}
spec:
  tls: [{hosts: [s.test], secretName: s-tls}]
  rules: [{host: s.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: s, port: {number: 443}}}}]}}]
",
        ["GET http://s.test/x" => "s/release"], ["same      Ingress default/s, backend-protocol: HTTPS [routes/s, services/s]"];

    permanent_redirect: one!("/", "Prefix", "permanent-redirect: https://new.test"),
        ["GET web.test/x" => "301 https://new.test/"], ["close     Ingress default/web, permanent-redirect: https://new.test"];

    app_root_and_www: one!("/", "Prefix", "app-root: /home", "from-to-www-redirect: \"true\""),
        ["GET web.test/" => "302 http://web.test/home", "GET web.test/x" => "web/release", "GET www.web.test/x" => "308 http://web.test/x"],
        ["same      Ingress default/web, app-root: /home"];

    allowed_addresses: one!("/", "Prefix", "whitelist-source-range: 10.0.0.0/8, 192.168.1.1"),
        ["GET web.test/ | @10.1.2.3" => "web/release", "GET web.test/ | @203.0.113.1" => "404"],
        ["close     Ingress default/web, whitelist-source-range: 10.0.0.0/8, 192.168.1.1: others get 404 instead of 403"];

    session_affinity: one!("/", "Prefix", "affinity: cookie", "session-cookie-name: route", "session-cookie-max-age: \"172800\"", "session-cookie-path: /"),
        ["GET web.test/" => "web/release"],
        ["close     Ingress default/web, affinity: cookie: the cookie names a user", "left out  Ingress default/web, session-cookie-path"];

    hashed_by_a_header: one!("/", "Prefix", "upstream-hash-by: $http_x_user", "load-balance: ewma"),
        ["GET web.test/" => "web/release"], ["close     Ingress default/web, upstream-hash-by: $http_x_user", "`ewma` becomes least requests"];

    timeouts_and_sizes: one!("/", "Prefix", "proxy-connect-timeout: \"5\"", "proxy-read-timeout: \"120\"", "proxy-body-size: 8m", "proxy-next-upstream-tries: \"3\"", "upstream-vhost: inner.test", "x-forwarded-prefix: /p"),
        ["GET web.test/" => "web/release"], ["7 same, 0 close"];

    grpc: one!("/", "Prefix", "backend-protocol: GRPC"),
        ["POST web.test/pkg.Service/Call" => "web/release"], ["same      Ingress default/web, backend-protocol: GRPC"];

    what_has_no_place: one!("/", "Prefix", "auth-url: http://auth/check", "configuration-snippet: |\n      more_set_headers \"a: b\";", "limit-rate: \"5\"", "enable-cors: \"true\"", "mirror-target: http://m/$other", "canary-weight: \"5\"", "proxy-body-size: \"0\""),
        ["GET web.test/" => "web/release"],
        ["left out  Ingress default/web, auth-url: http://auth/check: requests are not authenticated here",
         "configuration-snippet: more_set_headers \"a: b\";: it is text of nginx's own configuration",
         "enable-cors: true: CORS headers", "the Ingress is no canary", "1 same, 0 close, 8 left out"];

    limits_of_a_second: one!("/", "Prefix", "limit-rps: \"10\"", "limit-burst-multiplier: \"2\""),
        ["GET web.test/" => "web/release"],
        ["close     Ingress default/web, limit-rps: 10: 429 in place of 503 [routes/web"];

    limits_of_a_minute_and_others: one!("/", "Prefix", "limit-rpm: \"300\"", "limit-connections: \"5\"", "limit-whitelist: 10.0.0.0/8", "limit-rate-after: \"1\""),
        ["GET web.test/" => "web/release"],
        ["close     Ingress default/web, limit-rpm: 300", "limit-connections: 5: `limits.connections_per_ip`", "limit-whitelist: 10.0.0.0/8: write a further route", "limit-rate-after: 1: it limits no number of requests"];

    one_limit_a_route: one!("/", "Prefix", "limit-rps: \"1\"", "limit-rpm: \"30\""),
        ["GET web.test/" => "web/release"], ["left out  Ingress default/web, limit-rpm: 30: a route has one limit"];

    copies_to_a_host: one!("/", "Prefix", "mirror-target: https://test.example$request_uri", "mirror-request-body: \"off\"", "mirror-host: test.example"),
        ["GET web.test/" => "web/release"],
        ["close     Ingress default/web, mirror-target: https://test.example$request_uri: write the addresses of `test.example` below `instances/mirror-test.example/`",
         "mirror-request-body: off: requests are copied with their bodies", "mirror-host: test.example: a copy has the Host of its request"];

    copies_to_an_address: one!("/", "Prefix", "mirror-target: http://10.0.0.9:8080/$request_uri"),
        ["GET web.test/" => "web/release"], ["same      Ingress default/web, mirror-target: http://10.0.0.9:8080/$request_uri"];

    default_backend: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: d}
spec: {defaultBackend: {service: {name: fallback, port: {number: 80}}}}
",
        ["GET whatever.test/x" => "fallback/release"], ["same      Ingress default/d, */ -> fallback"];

    wildcard_hosts_and_aliases: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: w, annotations: {nginx.ingress.kubernetes.io/server-alias: 'w2.test, w3.test'}}
spec:
  rules:
  - {host: '*.w.test', http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: many, port: {number: 80}}}}]}}
  - {host: w.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: one, port: {number: 80}}}}]}}
",
        ["GET a.b.w.test/" => "many/release", "GET w.test/" => "one/release", "GET w3.test/" => "many/release"], [];

    one_service_of_two_namespaces_and_ports: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a, namespace: one}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}, {path: /admin, pathType: Prefix, backend: {service: {name: web, port: {number: 81}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: b, namespace: two}
spec: {rules: [{host: b.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]}
",
        ["GET a.test/" => "one.web-80/release", "GET a.test/admin" => "one.web-81/release", "GET b.test/" => "two.web/release"], [];

    one_path_twice: "\
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: first, port: {number: 80}}}}]}}]}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: b}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: second, port: {number: 80}}}}]}}]}
",
        ["GET a.test/" => "first/release"],
        ["left out  Ingress default/b, a.test/ -> second: Ingress default/a has the same host and path, and came first"];

    other_objects_and_broken_ones: "\
kind: Deployment
metadata: {name: x}
---
# only a comment
---
kind: [
---
a: b
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: a}
spec: {rules: [{host: a.test, http: {paths: [{path: /, pathType: Prefix, backend: {resource: {kind: Bucket, name: s}}}, {path: /x, pathType: Prefix, backend: {service: {name: x, port: {number: 80}}}}]}}]}
",
        ["GET a.test/x" => "x/release"],
        ["left out  Deployment default/x: only Ingress, Service", "left out  sample:7: it is no YAML", "left out  sample:8: it is no Kubernetes object",
         "left out  Ingress default/a, a.test/: its backend is no Service"];
}

#[test]
fn limits_and_copies_are_written_as_fields_of_the_route() {
    let limited = one!("/", "Prefix", "limit-rps: \"10\"");
    has(Source::IngressNginx, limited, "routes/web", "limit: {rate: 10/s, burst: 51, by: [ip]}");
    let copied = one!("/", "Prefix", "mirror-target: http://10.0.0.9:8080");
    has(Source::IngressNginx, copied, "routes/web", "mirror: {service: mirror-10.0.0.9}");
}
