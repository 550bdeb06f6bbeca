// The connection to the server: JSON there, JSON and binary frames back. See play/frames.py, pack().

const TYPES = { uint8: Uint8Array, uint16: Uint16Array, float32: Float32Array };

export function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
  const arrays = {};
  for (const { name, type, shape, start } of header.arrays) {
    const count = shape.reduce((a, b) => a * b, 1);
    arrays[name] = { data: new TYPES[type](buffer, 4 + length + start, count), shape };
  }
  return { header, arrays };
}

// One WebSocket, opened again when it breaks; the world of before is asked for by its session.
export class Connection {
  constructor({ onText, onFrame, onState }) {
    Object.assign(this, { onText, onFrame, onState, delay: 500, stopped: false });
    this.token = new URLSearchParams(location.hash.slice(1)).get("token");
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const query = this.token ? `?token=${encodeURIComponent(this.token)}` : "";
    this.onState("waiting", "connecting");
    const socket = new WebSocket(`${scheme}://${location.host}/world${query}`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => socket.send(JSON.stringify({ type: "hello", session: sessionStorage.getItem("session") }));
    socket.onmessage = ({ data }) => {
      if (typeof data === "string") {
        const content = JSON.parse(data);
        if (content.type === "welcome") {
          sessionStorage.setItem("session", content.session);
          this.delay = 500;
          this.onState("open", "connected");
        }
        this.onText(content);
      } else this.onFrame(unpack(data));
    };
    socket.onclose = ({ code, reason }) => {
      if (code === 4001) {
        this.onState("closed", reason || "closed by the server");
        if (reason.includes("another window")) sessionStorage.removeItem("session");
        return;
      }
      this.onState("closed", "connection lost, trying again");
      setTimeout(() => this.open(), this.delay);
      this.delay = Math.min(this.delay * 2, 8000);
    };
    this.socket = socket;
  }

  send(type, content = {}) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify({ type, ...content }));
  }
}
