//! The network of a machine: packets that get lost.

use super::Mosh;

impl Mosh {
    /// From now on each packet from or to this port of 127.0.0.1 is lost, as behind a firewall that has forgotten a connection, or with a cable that is out: connections stay up and hear no more,
    /// new ones are never taken. False: this kernel cannot do that.
    #[must_use]
    pub fn lose_packets(&self, port: u16) -> bool {
        // A class with a queue of no packets: of the queueing disciplines, HTB is the one that kernels have.
        let filter = "tc filter add dev lo parent 1: protocol ip u32 match ip";
        self.sh(&format!(
            "set -e; tc qdisc add dev lo root handle 1: htb; tc class add dev lo parent 1: classid 1:9 htb rate 1mbit
             tc qdisc add dev lo parent 1:9 pfifo limit 0
             {filter} dport {port} 0xffff flowid 1:9; {filter} sport {port} 0xffff flowid 1:9"
        ))
        .ok()
    }

    /// No packet is lost any more.
    ///
    /// # Panics
    /// When none was.
    #[track_caller]
    pub fn lose_no_packets(&self) {
        self.sh("tc qdisc del dev lo root").success();
    }

    /// How many connections to this port are up, as the kernel of the machine sees it.
    #[must_use]
    pub fn connections(&self, port: u16) -> usize {
        self.sh(&format!("ss -Htn state established dport = :{port}")).success().stdout.lines().count()
    }
}
