//! A broker of the system's packages, started for one measurement and ended with it.
//!
//! Knows no protocol. A broker that is not installed ends this program with a status of its own, so that whoever
//! compares can say that it was left out.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use senza_benches::free_endpoint;
use tempfile::TempDir;

use super::soon;

/// The exit status of a measurement whose broker is not installed.
const MISSING: i32 = 3;
/// How often a start is tried: a port that was free may be taken when the broker binds it.
const TRIES: usize = 5;

/// A broker that answers on loopback.
pub(super) struct Server {
    process: Child,
    endpoint: String,
    /// Its configuration, and where it would write.
    _folder: TempDir,
}

impl Server {
    /// Starts one. `settings` writes what it needs into a folder and answers the words of its command line.
    pub(super) fn start(program: &str, settings: impl Fn(&Path, &str) -> Vec<String>) -> Self {
        for _ in 0..TRIES {
            let endpoint = free_endpoint().trim_start_matches("tcp/").to_owned();
            let port = endpoint.rsplit(':').next().unwrap_or_default();
            let folder = tempfile::tempdir().expect("a folder");
            let mut command = Command::new(find(program));
            command.args(settings(folder.path(), port)).current_dir(folder.path());
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let process = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
            let mut server = Self { process, endpoint, _folder: folder };
            if server.answers() {
                return server;
            }
        }
        panic!("{program} does not start");
    }

    /// Its address.
    pub(super) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Waits until it takes connections; answers false where it ended instead.
    fn answers(&mut self) -> bool {
        let mut ended = false;
        let answered = soon(|| {
            ended = self.process.try_wait().is_ok_and(|status| status.is_some());
            ended || std::net::TcpStream::connect(&self.endpoint).is_ok()
        });
        answered && !ended
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _killed = self.process.kill();
        let _status = self.process.wait();
    }
}

/// Where a program lies: in a folder of the path, or among the system's.
#[expect(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "nothing was started yet, and the status tells why"
)]
fn find(program: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain([Path::new("/usr/sbin").to_owned()]);
    let Some(folder) = folders.find(|folder| folder.join(program).is_file()) else {
        eprintln!("{program} is missing: apt-get install {program}");
        std::process::exit(MISSING)
    };
    folder.join(program)
}
