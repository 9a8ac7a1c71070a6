//! Configuration files of nginx as people write them.

use super::{has, imported, shapes, written};
use crate::import::Source;

/// Two upstreams and a server that passes everything to a variable, below its definition.
macro_rules! gray {
    ($definition:expr) => {
        concat!(
            "upstream stable { server 10.0.0.1:8080; }\nupstream canary { server 10.0.0.2:8080; }\n",
            $definition,
            "\nserver { listen 80; server_name g.test; location / { proxy_set_header Host $host; proxy_pass http://$backend; } }\n",
        )
    };
}

/// One server with one upstream and these locations.
macro_rules! locations {
    ($($inside:expr)*) => {
        concat!("upstream app { server 10.0.0.1:80; } upstream other { server 10.0.0.2:80; }\nserver { listen 80; server_name l.test; proxy_set_header Host $host;\n", $($inside, "\n",)* "}\n")
    };
}

shapes! { Source::Nginx;
    shares_by_address: gray!("split_clients \"${remote_addr}AAA\" $backend { 20% canary; * stable; }"),
        ["GET g.test/" => "backend/canary=20%"],
        ["close     g.test, location / (line 4): another hash: who is in a share changes once, and then stays",
         "same      line 3, split_clients $backend [services/backend]"];

    three_shares_and_a_rest: gray!("upstream beta { server 10.0.0.3:80; }\nsplit_clients $cookie_uid $backend { 0.5% canary; 25% beta; * stable; }"),
        ["GET g.test/ | cookie: uid=u#" => "backend/beta=25%", "GET g.test/" => "backend/release"], [];

    the_rest_is_an_upstream_of_a_share_too: gray!("split_clients $http_x_user $backend { 10% stable; 20% canary; * stable; }"),
        ["GET g.test/ | x-user: u#" => "backend/canary=20%"], [];

    drawn_again_by_each_request: gray!("split_clients $request_id $backend { 50% canary; * stable; }"),
        ["GET g.test/ | x-request-id: r#" => "backend/canary=50%"], [];

    hashed_by_several: gray!("split_clients \"${remote_addr}${http_user_agent}${date_gmt}\" $backend { 50% canary; * stable; }"),
        ["GET g.test/" => "backend/canary=50%"], ["hashed by `ip` and not by all of"];

    mapped_from_a_cookie: gray!("map $cookie_version $backend { default stable; v2 canary; }"),
        ["GET g.test/ | cookie: version=v2" => "backend/canary", "GET g.test/ | cookie: version=V2" => "backend/canary",
         "GET g.test/ | cookie: version=v1" => "backend/release", "GET g.test/" => "backend/release"],
        ["same      g.test, location / (line 4) [routes/g.test-001, services/backend]"];

    mapped_from_a_header: gray!("map $http_x_gray $backend { \"1\" canary; default stable; }"),
        ["GET g.test/ | x-gray: 1" => "backend/canary", "GET g.test/ | x-gray: 0" => "backend/release"], ["0 close"];

    mapped_from_a_parameter: gray!("map $arg_gray $backend { yes canary; default stable; }"),
        ["GET g.test/?gray=yes" => "backend/canary", "GET g.test/?gray=no" => "backend/release"], [];

    mapped_by_patterns_in_order: gray!("map $http_user_agent $backend { default stable; \"~*iphone\" canary; ~Android stable; ~^Mobile canary; }"),
        ["GET g.test/ | user-agent: My IPhone" => "backend/canary", "GET g.test/ | user-agent: Mobile Android" => "backend/release",
         "GET g.test/ | user-agent: Mobile x" => "backend/canary", "GET g.test/ | user-agent: a Mobile" => "backend/release"], [];

    a_cookie_inside_the_whole_header: gray!("map $http_cookie $backend { default stable; \"~*gray=1\" canary; }"),
        ["GET g.test/ | cookie: a=b; gray=1; c=d" => "backend/canary", "GET g.test/" => "backend/release"], [];

    mapped_from_nothing: gray!("map $http_x_user $backend { \"\" canary; default stable; }"),
        ["GET g.test/" => "backend/canary", "GET g.test/ | x-user:" => "backend/canary", "GET g.test/ | x-user: a" => "backend/release"], [];

    a_default_that_is_another_variable: gray!("split_clients $remote_addr $drawn { 30% canary; * stable; }\nmap $cookie_force $backend { canary canary; stable stable; default $drawn; }"),
        ["GET g.test/ | cookie: force=canary" => "backend/canary", "GET g.test/ | cookie: force=stable" => "backend/release", "GET g.test/" => "backend/canary=30%"], [];

    a_map_of_a_share: gray!("split_clients $remote_addr $group { 30% new; * old; }\nmap $group $backend { new canary; default stable; }"),
        ["GET g.test/" => "backend/canary=30%"], ["close     g.test, location /"];

    a_map_of_two_maps: gray!("map $http_x_beta $beta { 1 b; default n; }\nmap $cookie_staff $staff { 1 s; default n; }\nmap $beta$staff $backend { bs canary; ~^b canary; ns canary; default stable; }"),
        ["GET g.test/ | x-beta: 1" => "backend/canary", "GET g.test/ | cookie: staff=1" => "backend/canary", "GET g.test/" => "backend/release"], [];

    by_network: gray!("geo $backend { default stable; 10.0.0.0/8 canary; 10.1.0.0/16 stable; 192.168.1.1 canary; }"),
        ["GET g.test/ | @10.2.0.1" => "backend/canary", "GET g.test/ | @10.1.0.1" => "backend/release", "GET g.test/ | @192.168.1.1" => "backend/canary", "GET g.test/ | @8.8.8.8" => "backend/release"],
        ["same      line 3, geo $backend"];

    a_flag_by_network_that_is_mapped: gray!("geo $office { default 0; 10.0.0.0/8 1; }\nmap $office $backend { 1 canary; default stable; }"),
        ["GET g.test/ | @10.2.0.1" => "backend/canary", "GET g.test/" => "backend/release"], [];

    set_and_if_in_a_location: locations!("location / { set $group app; if ($http_x_gray = \"on\") { set $group other; } if ($cookie_gray ~* \"^(yes|1)$\") { set $group other; } proxy_pass http://$group; }"),
        ["GET l.test/ | x-gray: on" => "group/other", "GET l.test/ | cookie: gray=YES" => "group/other", "GET l.test/ | cookie: gray=no" => "group/release"],
        ["same      l.test, location /"];

    set_and_if_in_a_server: "upstream app { server 10.0.0.1:80; } upstream other { server 10.0.0.2:80; }
server { listen 80; server_name l.test; set $up \"app\"; if ($remote_addr ~ \"^211\\.118\\.119\\.11$\") { set $up other; } location / { proxy_set_header Host $host; proxy_pass http://$up; } }",
        ["GET l.test/ | @211.118.119.11" => "up/other", "GET l.test/ | @211.118.119.12" => "up/release"], [];

    an_if_that_is_not_so: locations!("location / { set $g app; if ($http_x != \"a\") { set $g other; } if ($arg_old) { set $g app; } proxy_pass http://$g; }"),
        ["GET l.test/ | x: a" => "g/release", "GET l.test/" => "g/other", "GET l.test/?old=1" => "g/release", "GET l.test/?old=0" => "g/other"], [];

    an_if_with_a_proxy_pass: locations!("location / { if ($http_version = \"2\") { proxy_pass http://other; } proxy_pass http://app; }"),
        ["GET l.test/ | version: 2" => "other/other", "GET l.test/" => "other/release"], [];

    an_if_that_cannot_be_read: locations!("location / { if ($request_body ~ x) { set $g other; } proxy_pass http://app; }"),
        ["GET l.test/" => "404"], ["left out  l.test, location / (line 3)"];

    weights_are_instances_of_one_version: "upstream web { server 192.168.2.1 weight=90; server 192.168.2.2:81 weight=10 max_fails=3; }
server { listen 80; location / { proxy_pass http://web; } }",
        ["GET any.test/" => "web/release"],
        ["same      upstream web, server 192.168.2.1 weight=90", "close     upstream web, server 192.168.2.2:81 weight=10 max_fails=3: without max_fails=3"];

    names_sockets_and_backups: "upstream web { ip_hash; server a.internal:80; server unix:/run/x.sock; server 10.0.0.1 backup; server 10.0.0.2 down; server 10.0.0.3; keepalive 32; }
server { listen 80; location / { proxy_pass http://web; } }",
        ["GET any.test/" => "web/release"],
        ["left out  upstream web, server a.internal:80: an instance is an address", "left out  upstream web, server unix:/run/x.sock", "a backup is a version of its own", "it is down", "same      line 1, upstream web"];

    exact_and_prefix: locations!("location = /x { proxy_pass http://other; }" "location /api/ { proxy_pass http://other; }" "location / { proxy_pass http://app; }"),
        ["GET l.test/x" => "other/release", "GET l.test/x/y" => "app/release", "GET l.test/api/z" => "other/release", "GET l.test/apis" => "app/release"],
        ["close     l.test, location /api/ (line 4): `/api` without the slash is taken too", "same      l.test, location = /x"];

    patterns_come_before_prefixes: locations!("location /img/ { proxy_pass http://app; }" "location ~* \\.(png|jpg)$ { proxy_pass http://other; }" "location ^~ /static/ { proxy_pass http://app; }" "location = /img/a.png { proxy_pass http://app; }" "location / { proxy_pass http://app; }"),
        ["GET l.test/img/b.PNG" => "other/release", "GET l.test/static/b.png" => "app/release", "GET l.test/img/a.png" => "app/release", "GET l.test/img/b.gif" => "app/release"], [];

    patterns_in_their_order: locations!("location ~ ^/a { proxy_pass http://other; }" "location ~ ^/a/b { proxy_pass http://app; }"),
        ["GET l.test/a/b" => "other/release"], [];

    a_prefix_that_is_replaced: locations!("location /svc/ { proxy_pass http://app/; }" "location /v1/ { proxy_pass http://app/v2/; }"),
        ["GET l.test/svc/x/y" => "app/release /x/y", "GET l.test/v1/x" => "app/release /v2/x"], [];

    a_rewrite: locations!("location /old/ { rewrite ^/old/(.*)$ /new/$1 break; proxy_pass http://app; }"),
        ["GET l.test/old/a/b" => "app/release /new/a/b"], [];

    a_whole_url_in_a_variable: "map $http_x $url { 1 http://10.0.0.2:81; default http://10.0.0.1:80/; } server { listen 80; location / { proxy_set_header Host $host; proxy_pass $url; } }",
        ["GET any.test/ | x: 1" => "url/10.0.0.2-81", "GET any.test/" => "url/release"], [];

    addresses_in_place_of_upstreams: "server { listen 80; location / { proxy_pass http://127.0.0.1:3000; } }",
        ["GET any.test/" => "127.0.0.1-3000/release"], ["left out  server, line 1, listen 80: write it into `listen`"];

    a_variable_inside_a_name: "upstream app_a { server 10.0.0.1; } upstream app_b { server 10.0.0.2; } map $cookie_lane $lane { b b; default a; } server { listen 80; location / { proxy_set_header Host $host; proxy_pass http://app_$lane$request_uri; } }",
        ["GET any.test/ | cookie: lane=b" => "lane/app_b", "GET any.test/" => "lane/release"], [];

    what_the_client_writes_never_chooses: "server { listen 80; location / { proxy_pass http://$http_x_backend; } }",
        ["GET any.test/" => "404"], ["left out  server, location / (line 1): `$http_x_backend` is what the client writes"];

    an_upstream_that_is_missing: "map $http_x $u { 1 nowhere.internal; default 10.0.0.1; } server { listen 80; location / { proxy_pass http://$u; } }",
        ["GET any.test/" => "404"], ["it can be `nowhere.internal`, which is neither an upstream of the files nor an address"];

    https_by_a_second_server: "upstream app { server 10.0.0.1; }
server { listen 80; server_name t.test; return 301 https://$host$request_uri; }
server { listen 443 ssl; server_name t.test; ssl_certificate a.crt; ssl_certificate_key a.key; location / { proxy_set_header Host $host; proxy_pass http://app; } }",
        ["GET http://t.test/x?y" => "301 https://t.test/x?y", "GET https://t.test/x" => "app/release"],
        ["same      t.test, line 2, return 301 https://$host$request_uri", "put the pair into `listen.tls.certificates`"];

    https_by_an_if: locations!("if ($scheme = http) { return 301 https://$server_name$request_uri; }" "location / { proxy_pass http://app; }"),
        ["GET http://l.test/x" => "301 https://l.test/x", "GET https://l.test/x" => "app/release"], [];

    a_redirect_of_one_location: locations!("location /old { return 302 https://new.test/start; }" "location / { proxy_pass http://app; }" "location /health { return 200 ok; }"),
        ["GET l.test/old" => "302 https://new.test/start", "GET l.test/" => "app/release"], ["only redirects are answered here"];

    names_and_the_default_server: "upstream a { server 10.0.0.1; } upstream b { server 10.0.0.2; } upstream c { server 10.0.0.3; }
server { listen 80 default_server; server_name _; location / { proxy_set_header Host $host; proxy_pass http://a; } }
server { listen 80; server_name .b.test www.bb.test; location / { proxy_set_header Host $host; proxy_pass http://b; } }
server { listen 80; server_name c.*; location / { proxy_set_header Host $host; proxy_pass http://c; } }",
        ["GET b.test/" => "b/release", "GET x.b.test/" => "b/release", "GET other.test/" => "a/release"], ["a host is a name or `*.name` here", "left out  line 4, server c.*: no host that can be named here leads to it"];

    headers_and_limits: locations!("location / { proxy_set_header X-App one; proxy_set_header X-Real-IP $remote_addr; proxy_set_header Accept-Encoding \"\"; add_header X-From edge; client_max_body_size 20m; proxy_read_timeout 90; proxy_connect_timeout 3s; limit_req zone=one; auth_basic x; proxy_pass http://app; }"),
        ["GET l.test/" => "app/release"], ["X-Real-IP $remote_addr: the client's address stands in X-Forwarded-For", "limit_req zone=one: its zone is defined nowhere", "auth_basic x: it has no meaning here"];

    limits_by_zones: "limit_req_zone $binary_remote_addr zone=one:10m rate=10r/s;
limit_req_zone $http_x_user zone=users:1m rate=30r/m;
limit_req_zone $server_name zone=names:1m rate=1r/s;
upstream app { server 10.0.0.1; }
server { server_name l.test;
location / { limit_req zone=one burst=5 nodelay; proxy_pass http://app; }
location /users { limit_req zone=users burst=5; proxy_pass http://app; }
location /names { limit_req zone=names; proxy_pass http://app; } }",
        ["GET l.test/" => "app/release"],
        ["429 in place of 503; each route has a limit of its own", "what is within the burst is not delayed", "`$server_name` is no attribute of a request"];

    copies_by_a_location: "upstream app { server 10.0.0.1; } upstream test { server 10.0.0.2; }
server { server_name l.test;
location / { mirror /mirror; proxy_pass http://app; }
location /other { mirror /gone; proxy_pass http://app; }
location /none { mirror off; proxy_pass http://app; }
location = /mirror { internal; proxy_pass http://test$request_uri; } }",
        ["GET l.test/" => "app/release", "GET l.test/other" => "app/release"],
        ["mirror: no location `/gone` passes copies on"];

    files_and_programs: locations!("location /static/ { root /var/www; }" "location / { try_files $uri @app; }" "location @app { proxy_pass http://app; }" "location /lua { content_by_lua_block { ngx.say(\"{}\") } }" "location /api { proxy_pass http://app; }"),
        ["GET l.test/api" => "app/release"], ["left out  l.test, location /static/ (line 3)", "named locations are reached from others only", "root /var/www"];

    a_dump_of_several_files: "# configuration file /etc/nginx/nginx.conf:
user www-data;
events { worker_connections 768; }
http { include /etc/nginx/mime.types; include /etc/nginx/conf.d/*.conf; sendfile on; }
# configuration file /etc/nginx/conf.d/up.conf:
upstream web { server 10.0.0.1; }
# configuration file /etc/nginx/conf.d/site.conf:
server { listen 80; server_name d.test; location / { proxy_pass http://web; } }
# configuration file /etc/nginx/snippets/unused.conf:
server { listen 81; location / { proxy_pass http://10.0.0.9; } }
",
        ["GET d.test/" => "web/release"], ["left out  events, sendfile, user: settings of nginx itself"];

    an_include_that_is_missing: "include conf.d/*.conf; upstream w { server 10.0.0.1; } server { location / { proxy_pass http://w; } }",
        ["GET any.test/" => "w/release"], ["left out  line 1, include conf.d/*.conf: the file is not there; import what `nginx -T` prints"];

    nested_locations_and_comments: locations!("# a comment; with { braces }" "location /a/ { location /a/b/ { proxy_pass http://other; } proxy_pass http://app; }"),
        ["GET l.test/a/b/c" => "other/release", "GET l.test/a/c" => "app/release"], [];
}

#[test]
fn what_is_broken_is_told_with_its_line() {
    for (text, said) in [
        ("upstream a {\n server 10.0.0.1;\n", "line 1: the block does not end"),
        ("server { }\n}", "line 2: a `}` closes nothing"),
        ("map \"x", "line 1: a quote does not end"),
        ("worker_processes 1", "line 1: `worker_processes` does not end with `;`"),
    ] {
        let found = imported(Source::Nginx, text);
        assert!(found.documents.is_empty());
        assert!(written(&found).contains(said), "{text}: {}", written(&found));
    }
    let deep = "a {".repeat(100);
    assert!(written(&imported(Source::Nginx, &deep)).contains("nested too deep"));
}

#[test]
fn variables_that_lead_to_themselves_end() {
    let text = "map $http_x $a { default $b; } map $http_y $b { default $a; } server { location / { proxy_pass http://$a; } }";
    assert!(written(&imported(Source::Nginx, text)).contains("leads through too many variables"));
}

#[test]
fn limits_and_copies_are_written_as_fields_of_the_route() {
    let text = "limit_req_zone $binary_remote_addr zone=one:10m rate=30r/m; upstream app { server 10.0.0.1; } upstream test { server \
                10.0.0.2; }\nserver { server_name l.test; location / { mirror /m; limit_req zone=one burst=5 nodelay; proxy_pass \
                http://app; }\nlocation = /m { internal; proxy_pass http://test$request_uri; } }";
    has(Source::Nginx, text, "routes/l.test-001", "limit: {rate: 30/m, burst: 6, by: [ip]}");
    has(Source::Nginx, text, "routes/l.test-001", "mirror: {service: test}");
}
