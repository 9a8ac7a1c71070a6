//! Routes of APISIX as people write them.

use super::{has, shapes};
use crate::import::Source;

/// One route in the standalone file, with these fields beside its uri and upstream.
macro_rules! route {
    ($($fields:expr)*) => {
        concat!("routes:\n  - id: \"1\"\n    name: shop\n    uri: /*\n    upstream:\n      type: roundrobin\n      nodes: {\"10.0.0.1:80\": 1}\n", $($fields,)* "#END\n")
    };
}

/// The same route with the plugin and these rules.
macro_rules! split {
    ($rules:expr) => {
        route!("    plugins:\n      traffic-split:\n        rules: " $rules "\n")
    };
}

/// One rule that asks these variables and leads to version `v2`.
macro_rules! vars {
    ($vars:expr) => {
        concat!(
            "{\"uri\": \"/*\", \"id\": 1, \"name\": \"shop\", \"upstream\": {\"nodes\": {\"10.0.0.1:80\": 1}}, \"plugins\": {\"traffic-split\": {\"rules\": [{\"match\": [{\"vars\": ",
            $vars,
            "}], \"weighted_upstreams\": [{\"upstream\": {\"name\": \"v2\", \"nodes\": {\"10.0.0.2:80\": 1}}}]}]}}}"
        )
    };
}

shapes! { Source::Apisix;
    weights: split!("[{weighted_upstreams: [{upstream: {name: v2, nodes: {\"10.0.0.2:80\": 1}}, weight: 1}, {weight: 4}]}]"),
        ["GET a.test/" => "shop/v2=20%"],
        ["close     route 1 (shop), traffic-split rule 1: in turn per request becomes sticky per user [rules/shop-1]"];

    weights_that_do_not_divide: split!("[{weighted_upstreams: [{upstream: {name: a, nodes: {\"10.0.0.2:80\": 1}}, weight: 1}, {upstream: {name: b, nodes: {\"10.0.0.3:80\": 1}}, weight: 1}, {weight: 1}]}]"),
        ["GET a.test/" => "shop/b=33.33%"], ["weights are rounded to hundredths of a percent"];

    blue_and_green_by_a_header: vars!("[[\"http_release\", \"==\", \"new_release\"]]"),
        ["GET a.test/ | release: new_release" => "shop/v2", "GET a.test/ | release: old" => "shop/release", "GET a.test/" => "shop/release"],
        ["same      route 1 (shop), traffic-split rule 1 [rules/shop-1]", "2 same, 0 close, 0 left out"];

    all_vars_hold: vars!("[[\"arg_name\", \"==\", \"jack\"], [\"http_user-id\", \">\", 23], [\"http_apisix-key\", \"~~\", \"[a-z]+\"]]"),
        ["GET a.test/?name=jack | user-id: 30 | apisix-key: xx" => "shop/v2",
         "GET a.test/?name=jack | user-id: 23 | apisix-key: xx" => "shop/release",
         "GET a.test/?name=jack | user-id: 30 | apisix-key: 11" => "shop/release",
         "GET a.test/?name=jill | user-id: 30 | apisix-key: xx" => "shop/release"], [];

    one_match_of_several_holds: split!("[{match: [{vars: [[arg_name, \"==\", jack]]}, {vars: [[arg_name2, \"==\", rose], [http_id, in, [\"1\", \"2\"]]]}], weighted_upstreams: [{upstream: {name: v2, nodes: {\"10.0.0.2:80\": 1}}}]}]"),
        ["GET a.test/?name=jack" => "shop/v2", "GET a.test/?name2=rose | id: 2" => "shop/v2", "GET a.test/?name2=rose | id: 3" => "shop/release"], [];

    rules_in_their_order: split!("[{match: [{vars: [[http_x-api-id, \"==\", \"1\"]]}], weighted_upstreams: [{upstream: {name: one, nodes: {\"10.0.0.2:80\": 1}}}]}, {match: [{vars: [[http_x-api-id, \"~~\", \"1|2\"]]}], weighted_upstreams: [{upstream: {name: two, nodes: {\"10.0.0.3:80\": 1}}}]}]"),
        ["GET a.test/ | x-api-id: 1" => "shop/one", "GET a.test/ | x-api-id: 2" => "shop/two", "GET a.test/" => "shop/release"], ["3 same"];

    a_match_with_weights: split!("[{match: [{vars: [[cookie_uid, has, x]]}], weighted_upstreams: [{weight: 1}]}, {match: [{vars: [[http_vip, \"==\", \"1\"]]}], weighted_upstreams: [{upstream: {name: v2, nodes: {\"10.0.0.2:80\": 1}}, weight: 3}, {weight: 7}]}]"),
        ["GET a.test/ | vip: 1" => "shop/v2=30%"], ["left out  route 1 (shop), traffic-split rule 1: the operator `has` of `cookie:uid` has no meaning here; its requests are asked further"];

    negations: vars!("[[\"arg_age\", \"!\", \"<\", 18], [\"http_x\", \"~=\", \"off\"]]"),
        ["GET a.test/" => "shop/v2", "GET a.test/?age=17" => "shop/release", "GET a.test/?age=18" => "shop/v2", "GET a.test/ | x: off" => "shop/release"], [];

    nested_logic: vars!("[\"OR\", [\"arg_a\", \"==\", \"1\"], [\"AND\", [\"arg_b\", \"==\", \"1\"], [\"arg_c\", \"==\", \"1\"]]]"),
        ["GET a.test/?a=1" => "shop/v2", "GET a.test/?b=1" => "shop/release", "GET a.test/?b=1&c=1" => "shop/v2"], [];

    negated_logic: vars!("[\"!OR\", [\"arg_a\", \"==\", \"1\"], [\"arg_b\", \"==\", \"1\"]]"),
        ["GET a.test/" => "shop/v2", "GET a.test/?b=1" => "shop/release"], [];

    numbers_are_compared_as_numbers: vars!("[[\"arg_id\", \"==\", 1]]"),
        ["GET a.test/?id=01.0" => "shop/v2", "GET a.test/?id=2" => "shop/release", "GET a.test/?id=x" => "shop/release"], [];

    other_variables: vars!("[[\"uri\", \"~~\", \"^/api/\"], [\"request_method\", \"in\", [\"GET\", \"HEAD\"]], [\"host\", \"==\", \"a.test\"], [\"remote_addr\", \"ipmatch\", [\"10.0.0.0/8\"]]]"),
        ["GET a.test/api/x | @10.1.1.1" => "shop/v2", "GET a.test/x | @10.1.1.1" => "shop/release", "POST a.test/api/x | @10.1.1.1" => "shop/release", "GET a.test/api/x" => "shop/release"], [];

    patterns_without_case: vars!("[[\"http_user_agent\", \"~*\", \"iphone\"]]"),
        ["GET a.test/ | user-agent: an iPhone 12" => "shop/v2", "GET a.test/" => "shop/release"], [];

    a_variable_that_no_request_has: vars!("[[\"post_arg_x\", \"==\", \"1\"]]"),
        ["GET a.test/" => "shop/release"], ["left out  route 1 (shop), traffic-split rule 1: the variable `post_arg_x` is no attribute of a request here"];

    texts_that_are_compared_by_bytes: vars!("[[\"http_v\", \">=\", \"b\"]]"),
        ["GET a.test/" => "shop/release"], ["compares texts by their bytes"];

    an_empty_match: split!("[{match: [], weighted_upstreams: [{weight: 1}]}]"),
        ["GET a.test/" => "shop/release"], ["`match` is an empty list, whose meaning there depends on the rule before"];

    all_to_one: split!("[{weighted_upstreams: [{upstream: {name: v2, nodes: [{host: 10.0.0.2, port: 80, weight: 1}]}, weight: 10}, {weight: 0}]}]"),
        ["GET a.test/" => "shop/v2"], ["same      route 1 (shop), traffic-split rule 1"];

    all_to_no_instance: split!("[{weighted_upstreams: [{weight: 0}]}]"),
        ["GET a.test/" => "shop/release"], ["all its weights are 0"];

    upstreams_by_id: "\
upstreams:
  - {id: stable, type: roundrobin, nodes: {\"10.0.0.1:80\": 1, \"10.0.0.2:80\": 3}}
  - {id: \"2\", name: canary, nodes: {\"10.0.0.9:80\": 1}}
routes:
  - uri: /get
    id: r
    upstream_id: stable
    plugins: {traffic-split: {rules: [{match: [{vars: [[http_gray, ==, 'true']]}], weighted_upstreams: [{upstream_id: \"2\", weight: 1}]}]}}
#END
",
        ["GET a.test/get | gray: true" => "route-r/canary", "GET a.test/get" => "route-r/release", "GET a.test/get/x" => "404"], ["2 same, 0 close, 0 left out"];

    an_upstream_that_is_missing: split!("[{weighted_upstreams: [{upstream_id: 9, weight: 1}, {weight: 1}]}]"),
        ["GET a.test/" => "shop/release"], ["left out  route 1 (shop), traffic-split rule 1: its upstream `9` is not in the files; it is a 500 there as well"];

    what_the_admin_api_answers: r#"{"total": 3, "list": [
{"key": "/apisix/routes/r1", "value": {"uri": "/a/*", "service_id": "s", "methods": ["GET"]}, "createdIndex": 1},
{"key": "/apisix/services/s", "value": {"upstream_id": "u", "hosts": ["s.test"]}},
{"key": "/apisix/upstreams/u", "value": {"nodes": [{"host": "10.0.0.1", "port": 80, "weight": 1}]}}]}"#,
        ["GET s.test/a/x" => "route-r1/release", "POST s.test/a/x" => "404", "GET other.test/a/x" => "404"],
        ["close     route r1: `/a` itself is taken too, and was not by `/a/*`"];

    what_the_older_api_answers: r#"{"count": 1, "action": "get", "node": {"key": "/apisix/routes", "nodes": [{"key": "/apisix/routes/7", "value": {"uri": "/x", "id": "7", "upstream": {"nodes": {"127.0.0.1:1980": 1}, "type": "roundrobin"}}}], "dir": true}}"#,
        ["GET a.test/x" => "route-7/release"], ["same      route 7"];

    a_service_with_its_own_upstream: "\
services: [{id: s, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {prometheus: {}}}]
routes: [{id: 1, uris: [/v1, /v1/*], service_id: s}, {id: 2, uri: /v2, service_id: nowhere}]
",
        ["GET a.test/v1/x" => "route-1/release", "GET a.test/v1" => "route-1/release"], ["same      route 1", "left out  route 2: its service `nowhere` is not in the files"];

    uris_of_every_kind: "\
routes:
  - {id: exact, uri: /exact, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: text, uri: '/text*', upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: named, uri: '/users/:id/posts', upstream: {nodes: {\"10.0.0.1:80\": 1}}}
",
        ["GET a.test/exact" => "route-exact/release", "GET a.test/exact/x" => "404", "GET a.test/texture" => "route-text/release", "GET a.test/users/7/posts" => "route-named/release", "GET a.test/users/7" => "404"],
        ["`/text*` is asked after all paths without a pattern", "reads `:name` as one path element"];

    conditions_of_a_route: "\
routes:
  - {id: gray, uri: /*, priority: 10, vars: [[http_lane, ==, gray]], remote_addrs: [10.0.0.0/8, 127.0.0.1], upstream: {nodes: {\"10.0.0.2:80\": 1}}}
  - {id: all, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
",
        ["GET a.test/ | lane: gray | @10.0.0.7" => "route-gray/release", "GET a.test/ | lane: gray" => "route-all/release"],
        ["close     route gray: `priority` counts before the length of a path here"];

    rewrites: "\
routes:
  - {id: fixed, uri: /old, plugins: {proxy-rewrite: {uri: /new, host: inner.test, headers: {set: {X-A: b}, remove: [X-C]}}}, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: re, uri: '/iresty/*', plugins: {proxy-rewrite: {regex_uri: ['^/iresty/(.*)', '/$1']}}, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: mid, uri: '/m/*', plugins: {proxy-rewrite: {regex_uri: ['v1', 'v2']}}, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: var, uri: '/v', plugins: {proxy-rewrite: {uri: '/x/$arg_y', headers: {X-Old: way}}}, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
",
        ["GET a.test/old" => "route-fixed/release /new", "GET a.test/iresty/a/b" => "route-re/release /a/b", "GET a.test/m/v1/v1" => "route-mid/release /m/v2/v1", "GET a.test/v" => "route-var/release"],
        ["left out  route var, plugin proxy-rewrite: its uri `/x/$arg_y` has a variable or a query in it"];

    redirects: "\
routes:
  - {id: tls, uri: /*, hosts: [t.test], plugins: {redirect: {http_to_https: true}}, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: moved, uri: /moved, plugins: {redirect: {uri: /there, ret_code: 301}}}
",
        ["GET http://t.test/x" => "301 https://t.test/x", "GET https://t.test/x" => "route-tls/release", "GET a.test/moved" => "301 http://a.test/there"],
        ["same      route route-tls, plain requests go to HTTPS"];

    settings_of_an_upstream: "\
routes:
  - id: 1
    uri: /*
    timeout: {connect: 3, send: 3, read: 7.5}
    upstream:
      type: chash
      key: cookie_uid
      hash_on: cookie
      scheme: https
      retries: 2
      pass_host: rewrite
      upstream_host: up.test
      nodes: [{host: 10.0.0.1, port: 443, weight: 1}]
      checks: {active: {type: http, http_path: /ping, timeout: 2, healthy: {interval: 5, successes: 2}, unhealthy: {http_failures: 3}}}
",
        ["GET a.test/" => "route-1/release"], ["close     route 1: another hash: who meets which instance changes once"];

    nodes_that_are_names: "routes: [{id: 1, uri: /*, upstream: {type: least_conn, nodes: {\"web.internal:80\": 1, \"10.0.0.1\": 1}}}, {id: 2, uri: /n, upstream: {service_name: web, discovery_type: nacos}}]",
        ["GET a.test/" => "route-1/release"], ["left out  upstream of route-1, version release, web.internal:80: an instance is an address", "nacos web: write `discover` into the service"];

    what_has_no_place: "\
routes:
  - {id: 1, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {key-auth: {}, limit-conn: {conn: 1}, cors: {_meta: {disable: true}}}}
  - {id: 2, uri: /two, status: 0, upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: 3, uri: /three, filter_func: 'function(vars) return true end', upstream: {nodes: {\"10.0.0.1:80\": 1}}}
  - {id: 4, uri: /four}
consumers: [{username: x}]
",
        ["GET a.test/two" => "route-1/release"],
        ["plugin key-auth: it has no meaning here", "plugin limit-conn: `max_connections`", "left out  route 2: it is disabled there", "left out  route 3: `filter_func` is a program", "left out  route 4: it has no upstream in the files", "left out  sample, consumers"];

    a_window_becomes_a_rate: "\
routes:
  - {id: 1, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {limit-count: {count: 2, time_window: 60, rejected_code: 429, key: remote_addr, policy: redis}}}
",
        ["GET a.test/" => "route-1/release"], ["close     route 1: a window of its own becomes an even rate; each proxy counts for itself"];

    a_bucket_becomes_a_limit: "\
routes:
  - {id: 1, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {limit-req: {rate: 5, burst: 3, key: http_x_user, key_type: var}}}
  - {id: 3, uri: /three, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {limit-req: {rate: 5, burst: 3}, limit-count: {count: 1, time_window: 1}}}
  - {id: 2, uri: /two, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {limit-req: {rate: 5, burst: 0, key: consumer_name, key_type: var}}}
",
        ["GET a.test/" => "route-1/release"],
        ["close     route 1: 429 in place of 503; what is within the burst is not delayed", "plugin limit-", "a route has one limit", "`consumer_name` is no attribute of a request"];

    copies_of_a_share: "\
routes:
  - {id: 1, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {proxy-mirror: {host: 'http://127.0.0.1:9797', sample_ratio: 0.25}}}
  - {id: 2, uri: /two, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {proxy-mirror: {host: 'http://127.0.0.1:9797', path: /other}}}
",
        ["GET a.test/" => "route-1/release"], ["same      route 1", "left out  route 2, plugin proxy-mirror: a copy keeps the path of its request"];

    shared_plugins: "\
plugin_configs: [{id: p, plugins: {traffic-split: {rules: [{match: [{vars: [[http_x, ==, y]]}], weighted_upstreams: [{upstream: {name: v2, nodes: {\"10.0.0.2:80\": 1}}}]}]}}}]
routes: [{id: 1, uri: /*, plugin_config_id: p, upstream: {nodes: {\"10.0.0.1:80\": 1}}}]
",
        ["GET a.test/ | x: y" => "route-1/v2"], [];

    several_documents_and_an_upstream_alone: "uri: /a\nid: 1\nupstream_id: u\n---\nid: u\nnodes: {\"10.0.0.1:80\": 1}\n---\n- 5\n",
        ["GET a.test/a" => "route-1/release"], ["left out  sample: there is no route, service or upstream of APISIX in it"];

    broken_text: "routes: [",
        ["GET a.test/" => "404"], ["left out  sample: it is neither YAML nor JSON"];
}

#[test]
fn limits_and_copies_are_written_as_fields_of_the_route() {
    let text = "routes: [{id: 1, uri: /*, upstream: {nodes: {\"10.0.0.1:80\": 1}}, plugins: {limit-req: {rate: 5, burst: 3, \
                key: remote_addr, nodelay: true}, proxy-mirror: {host: 'http://127.0.0.1:9797', sample_ratio: 0.25}}}]";
    has(Source::Apisix, text, "routes/route-1", "limit: {rate: 5/s, burst: 4, by: [ip]}");
    has(Source::Apisix, text, "routes/route-1", "mirror: {service: mirror-127.0.0.1, share: 25%}");
    has(Source::Apisix, text, "services/mirror-127.0.0.1", "  - {address: 127.0.0.1:9797, version: release}");
}
