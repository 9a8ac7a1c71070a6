//! The whole program with instances from registries: both planes as processes, real registries, real requests.

mod chain;
mod latency;
mod load;

mod stage {
    use std::fs;
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use graygate_testing::registries::servers::{Server, free_port};

    use crate::harness::proxy::{BINARY, Proxy};

    /// A control process over a proxy's directory of documents.
    pub struct Control {
        child: Child,
        folder: tempfile::TempDir,
    }

    impl Control {
        /// `registries` is what stands under this key of its file.
        pub fn start(proxy: &Proxy, registries: &str) -> Control {
            let folder = tempfile::tempdir().unwrap();
            let file = format!(
                "listen: {{address: '127.0.0.1:{}'}}\ndocuments: {{directory: '{}'}}\nstate: '{}'\n\
                 proxies: ['http://{}']\nregistries: {registries}\n",
                free_port(),
                proxy.file("documents").display(),
                folder.path().join("state").display(),
                proxy.admin,
            );
            fs::create_dir(folder.path().join("state")).unwrap();
            fs::write(folder.path().join("control.yaml"), file).unwrap();
            let child = Control::run(folder.path());
            Control { child, folder }
        }

        fn run(folder: &Path) -> Child {
            let said = fs::OpenOptions::new().append(true).create(true).open(folder.join("stderr")).unwrap();
            Command::new(BINARY)
                .args(["control", "--config"])
                .arg(folder.join("control.yaml"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(said)
                .spawn()
                .unwrap()
        }

        /// Ends it the hard way.
        pub fn kill(&mut self) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }

        pub fn start_again(&mut self) {
            self.child = Control::run(self.folder.path());
        }
    }

    impl Drop for Control {
        fn drop(&mut self) {
            self.kill();
            if std::thread::panicking() {
                let said = fs::read_to_string(self.folder.path().join("stderr"));
                eprintln!("the control process said:\n{}", said.unwrap_or_default());
            }
        }
    }

    pub fn nacos(server: &Server) -> String {
        format!("{{nacos: {{addresses: ['{}']}}}}", server.address())
    }

    pub fn eureka(server: &Server) -> String {
        format!("{{eureka: {{addresses: ['http://{}/eureka'], every: 1s}}}}", server.address())
    }
}
