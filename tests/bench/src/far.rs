//! A registry that is far away: 40 ms there and back, 500 Mbit/s.
//!
//! `tc netem` would be the tool, but many kernels are built without it, and an ordinary user cannot load it. So the link is
//! imitated by a relay: one queue that all connections share, half of the delay each way, a handshake's time before the
//! first request of a connection, and for each connection a window that begins at ten segments and doubles as long as
//! everything arrives (RFC 6928, RFC 5681), since it is this that makes far transfers slow at their beginning. Nothing is
//! lost on it, and receivers' windows do not count.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::archive::{Documents, Layer, Packing};
use crate::measure::{Spread, cost};
use crate::registry::Registry;
use crate::{Result, World, table, tree};

/// One way.
const DELAY: Duration = Duration::from_millis(20);
/// Bytes in a second: 500 Mbit.
const RATE: f64 = 500e6 / 8.0;
/// Bytes that may be under way before the first acknowledgement.
const WINDOW: usize = 10 * 1460;
const PIECE: usize = 16 << 10;

pub fn run(world: &World) -> Result<()> {
    table::head();
    let layers = tree::python()
        .iter()
        .enumerate()
        .map(|(i, tree)| world.layer(&format!("python-{i}"), tree, Packing::Gzip))
        .collect::<Result<Vec<Layer>>>()?;
    let archive = world.archive("far", &layers)?;
    let near = Registry::start(Documents::new(&layers), &layers)?;
    let name = format!("localhost:{}/image:latest", relay(near.address())?.port());
    let bytes: u64 = layers.iter().map(|l| l.size).sum();
    let line = Duration::from_nanos(bytes * 8 * 2).as_secs_f64();
    let (mut ratios, mut pulls, mut loads) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..=world.runs() {
        let load = world.load(&archive)?.wall;
        let store = world.folder("store")?;
        let pull = cost(world.minidock(&store).args(["pull", "-q", &name]))?.wall;
        world.delete(&store)?;
        if run > 0 {
            ratios.push(pull / line.max(load));
            pulls.push(pull);
            loads.push(load);
        }
    }
    table::figure(
        "ten layers / the larger of line and load",
        ratios,
        "",
        Some(1.15),
    );
    let median = |values| Spread::of(values).median;
    println!(
        "    {:.0} MB: line {line:.2} s, load {:.2} s, pull {:.2} s",
        Duration::from_micros(bytes).as_secs_f64(),
        median(loads),
        median(pulls)
    );
    Ok(())
}

/// Starts a relay that leads to a server over the far link.
fn relay(to: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let free = Arc::new(Mutex::new(Instant::now()));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let free = Arc::clone(&free);
            std::thread::spawn(move || connection(&client, to, &free));
        }
    });
    Ok(address)
}

fn connection(client: &TcpStream, to: SocketAddr, free: &Arc<Mutex<Instant>>) -> io::Result<()> {
    let server = TcpStream::connect(to)?;
    for stream in [client, &server] {
        stream.set_nodelay(true)?;
    }
    let (answers, back) = (server.try_clone()?, client.try_clone()?);
    let free = Arc::clone(free);
    std::thread::spawn(move || answer(answers, back, &free));
    // The client believes to be connected long before it would be.
    let connected = Instant::now() + 2 * DELAY;
    later(client.try_clone()?, server, |_| {
        connected.max(Instant::now()) + DELAY
    })
}

/// Sleeps; the kernel wakes a little late.
fn wait_until(then: Instant) {
    std::thread::sleep(then.saturating_duration_since(Instant::now()));
}

/// Hands pieces on when they have arrived, `when` that is.
fn later(
    mut from: TcpStream,
    mut to: TcpStream,
    mut when: impl FnMut(usize) -> Instant,
) -> io::Result<()> {
    let (sender, receiver) = channel::<(Instant, Vec<u8>)>();
    let arrivals = std::thread::spawn(move || {
        for (then, piece) in receiver {
            wait_until(then);
            if to.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; PIECE];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0
            || sender
                .send((when(length), buffer[..length].to_vec()))
                .is_err()
        {
            break;
        }
    }
    drop(sender);
    let _ = arrivals.join();
    Ok(())
}

/// The way back: at the link's rate, and never more under way than the window.
fn answer(server: TcpStream, client: TcpStream, free: &Mutex<Instant>) -> io::Result<()> {
    let mut window = WINDOW;
    let mut unacknowledged = 0;
    let mut acknowledgements: VecDeque<(Instant, usize)> = VecDeque::new();
    later(server, client, move |length| {
        while let Some((then, bytes)) = acknowledgements.front().copied() {
            if unacknowledged + length > window {
                wait_until(then);
            } else if then > Instant::now() {
                break;
            }
            acknowledgements.pop_front();
            unacknowledged -= bytes;
            window += bytes;
        }
        let sent = {
            let mut free = free.lock().unwrap_or_else(PoisonError::into_inner);
            let takes =
                Duration::from_secs_f64(f64::from(u32::try_from(length).unwrap_or(0)) / RATE);
            *free = (*free).max(Instant::now()) + takes;
            *free
        };
        // The link's queue is not endless: whoever sends waits for it.
        wait_until(sent - DELAY.min(sent.saturating_duration_since(Instant::now())));
        unacknowledged += length;
        acknowledgements.push_back((sent + 2 * DELAY, length));
        sent + DELAY
    })
}
