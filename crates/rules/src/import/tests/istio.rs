//! VirtualServices and DestinationRules as people write them.

use super::{has, shapes};
use crate::import::Source;

/// A VirtualService for `reviews` with these routes.
macro_rules! reviews {
    ($($http:expr)*) => {
        concat!("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\nspec:\n  hosts: [reviews]\n  http:\n", $("  - ", $http, "\n",)*)
    };
}

/// One condition that leads to `v2`, and every other user to `v1`.
macro_rules! asks {
    ($($found:expr),*) => {
        reviews!(concat!("match: [", $($found, ", ",)* "]\n    route: [{destination: {host: reviews, subset: v2}}]") "route: [{destination: {host: reviews, subset: v1}}]")
    };
}

const SUBSETS: &str = "\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec:
  host: reviews
  trafficPolicy: {loadBalancer: {simple: RANDOM}}
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {loadBalancer: {simple: ROUND_ROBIN}}}]
";

shapes! { Source::Istio;
    everything_to_one_subset: reviews!("route: [{destination: {host: reviews, subset: v1}}]"),
        ["GET reviews/x" => "reviews/release", "GET reviews.default.svc.cluster.local/x" => "reviews/release", "GET other/x" => "404"],
        ["same      VirtualService default/reviews, http[0] [routes/reviews]", "left out  the instances of reviews: pods are found by labels there"];

    ninety_ten: reviews!("route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]"),
        ["GET reviews/" => "reviews/v2=10%"],
        ["close     VirtualService default/reviews, http[0]: random per request becomes sticky per user [routes/reviews, rules/reviews-0]"];

    fifty_fifty_keeps_the_first: reviews!("route: [{destination: {host: reviews, subset: v1}, weight: 50}, {destination: {host: reviews, subset: v3}, weight: 50}]"),
        ["GET reviews/" => "reviews/v3=50%"], [];

    weights_that_do_not_add_up: reviews!("route: [{destination: {host: reviews, subset: v1}, weight: 2}, {destination: {host: reviews, subset: v2}, weight: 1}]"),
        ["GET reviews/" => "reviews/v2=33.33%"], ["weights are rounded to hundredths of a percent"];

    a_user_by_header: asks!("{headers: {end-user: {exact: jason}}}"),
        ["GET reviews/ | end-user: jason" => "reviews/v2", "GET reviews/ | end-user: x" => "reviews/release"],
        ["same      VirtualService default/reviews, http[0] [routes/reviews, rules/reviews-0]", "2 same, 0 close"];

    a_prefix_and_a_pattern_of_headers: asks!("{headers: {x-a: {prefix: beta-}, X-B: {regex: '[0-9]+'}}}"),
        ["GET reviews/ | x-a: beta-1 | x-b: 12" => "reviews/v2", "GET reviews/ | x-a: beta-1 | x-b: 12x" => "reviews/release", "GET reviews/ | x-b: 12" => "reviews/release"], [];

    a_cookie_inside_the_header: asks!("{headers: {cookie: {regex: '^(.*?;)?(user=jason)(;.*)?$'}}}"),
        ["GET reviews/ | cookie: user=jason" => "reviews/v2", "GET reviews/ | cookie: a=b;user=jason;c=d" => "reviews/v2", "GET reviews/ | cookie: user=jasonx" => "reviews/release"], [];

    a_header_that_is_there: asks!("{headers: {x-canary: {}}}"),
        ["GET reviews/ | x-canary: any" => "reviews/v2", "GET reviews/" => "reviews/release"], [];

    a_header_that_is_not: asks!("{withoutHeaders: {x-old: {exact: '1'}}}"),
        ["GET reviews/" => "reviews/v2", "GET reviews/ | x-old: 1" => "reviews/release", "GET reviews/ | x-old: 2" => "reviews/v2"], [];

    several_matches_are_a_choice: asks!("{headers: {a: {exact: '1'}}}", "{headers: {b: {exact: '1'}}, method: {exact: POST}}"),
        ["GET reviews/ | a: 1" => "reviews/v2", "POST reviews/ | b: 1" => "reviews/v2", "GET reviews/ | b: 1" => "reviews/release"], [];

    a_parameter: asks!("{queryParams: {ver: {exact: '2'}}}"),
        ["GET reviews/?ver=2" => "reviews/v2", "GET reviews/?ver=1" => "reviews/release"], [];

    a_prefix_of_text: asks!("{uri: {prefix: /ratings}}"),
        ["GET reviews/ratings2" => "reviews/v2", "GET reviews/x" => "reviews/release"], ["2 same, 0 close"];

    a_path_without_case: asks!("{uri: {exact: /Login}, ignoreUriCase: true}"),
        ["GET reviews/login" => "reviews/v2", "GET reviews/login/x" => "reviews/release"], [];

    a_pattern_of_paths: asks!("{uri: {regex: '/api/v[0-9]+/.*'}}"),
        ["GET reviews/api/v1/x" => "reviews/v2", "GET reviews/x/api/v1/x" => "reviews/release"], [];

    a_host: asks!("{authority: {exact: beta.test}}"),
        ["GET reviews/" => "reviews/release"], [];

    what_no_request_tells: asks!("{sourceLabels: {app: web}}"),
        ["GET reviews/" => "reviews/release"], ["left out  VirtualService default/reviews, http[0]: `sourceLabels` is nothing a request tells here; its requests are asked further"];

    a_gateway_in_a_match: asks!("{gateways: [mesh]}"),
        ["GET reviews/" => "reviews/release"], ["it asks through which gateway a request came"];

    a_pattern_that_cannot_be_read: asks!("{headers: {x: {regex: '^(?!a).*$'}}}"),
        ["GET reviews/ | x: b" => "reviews/release"], ["left out  VirtualService default/reviews, http[0]: the pattern"];

    subsets_and_policies: concat!(reviews!("route: [{destination: {host: reviews.default.svc.cluster.local, subset: v1}, weight: 75}, {destination: {host: reviews, subset: v2}, weight: 25}]"), "---\napiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {}}], trafficPolicy: {connectionPool: {tcp: {maxConnections: 100, connectTimeout: 30ms}, http: {http1MaxPendingRequests: 1}}, outlierDetection: {consecutive5xxErrors: 7, interval: 5m, baseEjectionTime: 15m, maxEjectionPercent: 20}, loadBalancer: {consistentHash: {httpHeaderName: X-User}}, tls: {mode: ISTIO_MUTUAL}}}\n"),
        ["GET reviews/ | x-user: u#" => "reviews/v2=25%"],
        ["same      DestinationRule default/r, reviews, subset v1 (version=v1): the version `v1`", "connectionPool: without http1MaxPendingRequests", "close     DestinationRule default/r, reviews, outlierDetection", "left out  DestinationRule default/r, reviews, tls: mutual TLS of a mesh", "left out  DestinationRule default/r, reviews, subset v2, trafficPolicy"];

    cookies_that_are_given: concat!(reviews!("route: [{destination: {host: reviews}}]"), "---\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: reviews, trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: user, ttl: 0s}}}}}\n"),
        ["GET reviews/" => "reviews/release"], ["the cookie it gives lives 30 days"];

    static_endpoints: concat!(reviews!("route: [{destination: {host: reviews, subset: v1}, weight: 80}, {destination: {host: reviews, subset: v2}, weight: 20}]"), "---\nkind: DestinationRule\nmetadata: {name: r}\nspec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}\n---\nkind: ServiceEntry\nmetadata: {name: e}\nspec: {hosts: [reviews], resolution: STATIC, ports: [{number: 9080, name: http, protocol: HTTP}], endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}, ports: {http: 8080}, weight: 3}]}\n"),
        ["GET reviews/" => "reviews/v2=20%"], ["same      ServiceEntry default/e, reviews [services/reviews]", "0 left out"];

    paths_to_several_hosts: "\
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: bookinfo}
spec:
  hosts: ['*']
  gateways: [bookinfo-gateway]
  http:
  - match: [{uri: {exact: /productpage}}, {uri: {prefix: /static}}]
    route: [{destination: {host: productpage, port: {number: 9080}}}]
  - match: [{uri: {prefix: /reviews}}]
    route: [{destination: {host: reviews, subset: v1}}]
---
kind: Gateway
metadata: {name: bookinfo-gateway}
spec: {servers: [{port: {number: 80}, hosts: ['*']}]}
",
        ["GET any.test/productpage" => "productpage/release", "GET any.test/static/x" => "productpage/release", "GET any.test/reviews/1" => "reviews/release", "GET any.test/" => "404"],
        ["left out  Gateway default/bookinfo-gateway: listeners and certificates stand in the process file", "2 same"];

    routes_in_their_order: "\
kind: VirtualService
metadata: {name: o}
spec:
  hosts: [o.test]
  http:
  - match: [{uri: {prefix: /api/special}}]
    route: [{destination: {host: special}}]
  - match: [{headers: {x: {exact: y}}}]
    route: [{destination: {host: header}}]
  - match: [{uri: {prefix: /api}}]
    route: [{destination: {host: api, subset: a}, weight: 60}, {destination: {host: api, subset: b}, weight: 40}]
  - route: [{destination: {host: rest}}]
",
        ["GET o.test/api/special | x: y" => "special/release", "GET o.test/api/x | x: y" => "header/release", "GET o.test/api/x" => "api/b=40%", "GET o.test/x" => "rest/release"], [];

    a_rewrite_of_the_prefix: "\
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [r.test]
  http:
  - match: [{uri: {prefix: /v1/bookRatings}}]
    rewrite: {uri: /ratings, authority: inner.test}
    timeout: 10s
    route: [{destination: {host: ratings}}]
",
        ["GET r.test/v1/bookRatings/7" => "ratings/release /ratings/7"], ["close     VirtualService default/r, http[0]: the prefix that is replaced ends at a path element"];

    a_redirect: "\
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [r.test]
  http:
  - match: [{uri: {exact: /v1/getProductRatings}}]
    redirect: {uri: /v1/bookRatings, authority: new.test}
  - route: [{destination: {host: ratings}}]
",
        ["GET r.test/v1/getProductRatings" => "301 http://new.test/v1/bookRatings", "GET r.test/x" => "ratings/release"], ["2 same"];

    headers_of_both_sides: "\
kind: VirtualService
metadata: {name: r}
spec:
  hosts: [r.test]
  http:
  - headers: {request: {set: {X-Test: 'true'}}, response: {remove: [foo], add: {x-b: '%UPSTREAM%'}}}
    route: [{destination: {host: ratings, subset: v2}, weight: 25, headers: {response: {remove: [bar]}}}, {destination: {host: ratings, subset: v1}, weight: 75}]
",
        ["GET r.test/x" => "ratings/v2=25%"], ["the header `x-b` gets a variable of Envoy", "left out  VirtualService default/r, http[0], headers of a destination"];

    what_has_no_place: reviews!("fault: {delay: {percentage: {value: 100}, fixedDelay: 7s}}\n    retries: {attempts: 3}\n    corsPolicy: {}\n    route: [{destination: {host: reviews, subset: v1}}]"),
        ["GET reviews/" => "reviews/release"], ["http[0], fault: faults are not injected here", "http[0], retries", "http[0], corsPolicy"];

    copies_of_a_share: reviews!("match: [{headers: {x-a: {exact: b}}}]\n    mirror: {host: shadow, subset: v3}\n    mirrorPercentage: {value: 12.5}\n    route: [{destination: {host: reviews, subset: v2}}]\n  - route: [{destination: {host: reviews, subset: v1}}]"),
        ["GET reviews/ | x-a: b" => "reviews/v2", "GET reviews/" => "reviews/release"],
        ["close     VirtualService default/reviews, http[0], mirror: the Host stays as it is, without `-shadow`"];

    copies_of_every_request: reviews!("mirrors: [{destination: {host: shadow}, percentage: {value: 100}}, {destination: {host: other}}]\n    route: [{destination: {host: reviews, subset: v1}}]"),
        ["GET reviews/" => "reviews/release"], ["http[0], mirror, further ones: a route or rule has one mirror"];

    hosts_as_versions: reviews!("route: [{destination: {host: reviews}, weight: 95}, {destination: {host: reviews-canary}, weight: 5}]"),
        ["GET reviews/" => "reviews/reviews-canary=5%"], [];

    two_virtual_services_of_one_host: "\
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a.test], http: [{route: [{destination: {host: web, subset: v2}}]}]}
---
kind: VirtualService
metadata: {name: b}
spec: {hosts: ['*.b.test'], http: [{route: [{destination: {host: web, subset: v1}}]}]}
",
        ["GET a.test/" => "web/release", "GET x.b.test/" => "web/v1"], [];

    another_namespace: "\
kind: VirtualService
metadata: {name: a, namespace: front}
spec: {hosts: [a.test], http: [{route: [{destination: {host: web.back.svc.cluster.local, subset: v1}, weight: 90}, {destination: {host: web.back.svc.cluster.local, subset: v2}, weight: 10}]}]}
---
kind: DestinationRule
metadata: {name: d, namespace: back}
spec: {host: web, subsets: [{name: v1, labels: {v: '1'}}]}
",
        ["GET a.test/" => "web.back/v2=10%"], [];

    tcp_and_delegates: "\
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a.test], tcp: [{route: [{destination: {host: db}}]}], http: [{delegate: {name: b}}, {directResponse: {status: 503}}, {match: [], route: [{destination: {host: web}}]}]}
",
        ["GET a.test/" => "web/release"], ["left out  VirtualService default/a, tcp: only HTTP is routed here", "it delegates to another VirtualService", "answers are the applications'"];

    other_objects: "kind: AuthorizationPolicy\nmetadata: {name: x}\n---\nkind: DestinationRule\nmetadata: {name: d}\nspec: {host: unused}\n---\nkind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [v], http: [{route: [{destination: {host: v}}]}]}\n",
        ["GET v/" => "v/release"], ["left out  AuthorizationPolicy default/x", "left out  DestinationRule default/d, unused: no VirtualService in the files leads to this host"];
}

#[test]
fn the_sample_of_the_book_is_read() {
    let text = format!(
        "{}{SUBSETS}",
        reviews!(
            "route: [{destination: {host: reviews, subset: v1}, weight: 90}, {destination: {host: reviews, subset: v2}, weight: 10}]"
        )
    );
    super::check(
        Source::Istio,
        &text,
        &[("GET reviews/", "reviews/v2=10%")],
        &[
            "close     DestinationRule default/reviews, reviews, loadBalancer: instances take turns instead of being drawn",
        ],
    );
}

#[test]
fn copies_are_written_where_it_is_decided() {
    const COPY: &str = "mirror: {host: shadow, subset: v3}\n    mirrorPercentage: {value: 12.5}\n    ";
    let text = "kind: VirtualService\nmetadata: {name: r}\nspec:\n  hosts: [r.test]\n  http:\n  - COPYroute: [{destination: {host: \
                reviews, subset: v1}}]\n";
    has(
        Source::Istio,
        &text.replace("COPY", COPY),
        "rules/r-0",
        "mirror: {service: shadow, version: v3, share: 12.5%}",
    );
}
