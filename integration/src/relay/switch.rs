//! A TCP switch: bytes to where it points now, as a load balancer before several replicas.

use std::net::SocketAddr;
use std::sync::Arc;

use rr_contract::runtime::{Shutdown, Tasks};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A switch on a port of loopback. It ends when dropped.
pub struct Switch {
    /// Where to connect.
    pub address: SocketAddr,
    targets: Arc<watch::Sender<Vec<SocketAddr>>>,
    shutdown: Shutdown,
}

impl Switch {
    /// Each connection goes to the first of the targets that takes it. None: nobody is there.
    pub async fn start(targets: &[SocketAddr]) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let targets = Arc::new(watch::Sender::new(targets.to_vec()));
        let (stop, points) = (shutdown.stop(), Arc::clone(&targets));
        tasks.clone().spawn("switch", async move {
            while let Some(Ok((mut from, _))) = stop.cut(listener.accept()).await {
                let (stop, mut points) = (stop.clone(), points.subscribe());
                tasks.spawn("switched connection", async move {
                    let targets = points.borrow_and_update().clone();
                    let passing = async {
                        for target in targets {
                            if let Ok(mut to) = TcpStream::connect(target).await {
                                from.set_nodelay(true).ok();
                                to.set_nodelay(true).ok();
                                return drop(copy_bidirectional(&mut from, &mut to).await);
                            }
                        }
                    };
                    tokio::select! {
                        _ = stop.cut(passing) => {}
                        _ = points.changed() => {}
                    }
                });
            }
        });
        Ok(Self { address, targets, shutdown })
    }

    /// Points elsewhere, and cuts what is open.
    pub fn point(&self, targets: &[SocketAddr]) {
        self.targets.send_replace(targets.to_vec());
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}
