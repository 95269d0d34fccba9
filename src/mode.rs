//! Which machine owns a connection, and the handover when the peer asks for the other protocol.
