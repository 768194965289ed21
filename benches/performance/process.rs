//! Figures of a process from `/proc`: memory, CPU time, files, connections, threads.

use std::collections::BTreeMap;
use std::time::Duration;

/// The unit of `/proc/PID/stat`: always 100 ticks a second.
const TICK: Duration = Duration::from_millis(10);

/// A process to measure.
#[derive(Clone, Copy, Debug)]
pub struct Process(pub u32);

impl Process {
    fn read(self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.0);
        std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// A line of `/proc/PID/status`, without its unit.
    fn status(self, name: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap().split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(self) -> u64 {
        self.status("VmRSS")
    }

    /// The peak of resident memory since [`Process::forget_peak`], in KiB.
    pub fn peak_kib(self) -> u64 {
        self.status("VmHWM")
    }

    /// Resets the peak.
    pub fn forget_peak(self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.0), "5").unwrap();
    }

    /// The number of threads.
    pub fn threads(self) -> u64 {
        self.status("Threads")
    }

    /// CPU time so far, in user mode and in the kernel.
    pub fn cpu(self) -> Duration {
        let stat = self.read("stat");
        // The name in front may contain spaces; after it, user time is the 12th field and system time the 13th.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u32 = fields[11..13].iter().map(|ticks| ticks.parse::<u32>().unwrap()).sum();
        TICK * ticks
    }

    /// The number of open files, sockets included.
    pub fn files(self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap().count()
    }

    /// Established TCP connections by remote port.
    pub fn connections(self) -> BTreeMap<u16, usize> {
        const ESTABLISHED: &str = "01";
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.0)).unwrap();
        let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
        let inode = |link: &str| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned());
        let ours: Vec<String> = links.filter_map(|link| inode(link.to_str()?)).collect();
        let mut ports = BTreeMap::new();
        for line in self.read("net/tcp").lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == ESTABLISHED && ours.iter().any(|inode| inode == fields[9]) {
                let (_, port) = fields[2].split_once(':').unwrap();
                *ports.entry(u16::from_str_radix(port, 16).unwrap()).or_default() += 1;
            }
        }
        ports
    }
}
