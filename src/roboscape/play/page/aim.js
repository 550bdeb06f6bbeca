// Picking a pixel of a picture: by a click, or by a cross that the arrow keys move.

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const FAST_PX = 8;

export class Aim {
  // `stack` holds the picture, `cross` is a button in it, `button` switches; `onPick(x_px, y_px)`.
  constructor({ stack, cross, button, onPick }) {
    Object.assign(this, { stack, cross, button, onPick, side: 128, x: 64, y: 64, aiming: false });
    stack.addEventListener("click", (event) => this.click(event));
    cross.addEventListener("keydown", (event) => this.key(event));
  }

  toggle(aiming = !this.aiming) {
    this.aiming = aiming;
    this.button.setAttribute("aria-pressed", String(aiming));
    this.button.textContent = aiming ? "Leave it" : "Pick the point";
    this.stack.classList.toggle("aiming", aiming);
    this.cross.hidden = !aiming;
    if (!aiming) return;
    this.move(Math.floor(this.side / 2), Math.floor(this.side / 2));
    this.cross.focus({ preventScroll: true });
    this.stack.scrollIntoView({ block: "nearest" });
  }

  move(x, y) {
    const inside = (value) => Math.max(0, Math.min(this.side - 1, value));
    [this.x, this.y] = [inside(x), inside(y)];
    this.cross.style.left = `${100 * (this.x + 0.5) / this.side}%`;
    this.cross.style.top = `${100 * (this.y + 0.5) / this.side}%`;
    this.cross.setAttribute("aria-label", `Point ${this.x} across, ${this.y} down, of ${this.side}. Arrow keys move it, with Shift faster; Enter drives there.`);
  }

  // A click on the cross by the keyboard has no place of its own.
  click(event) {
    if (!this.aiming) return;
    if (event.detail > 0) {
      const box = this.stack.getBoundingClientRect();
      this.move(Math.floor(this.side * (event.clientX - box.left) / box.width), Math.floor(this.side * (event.clientY - box.top) / box.height));
    }
    this.toggle(false);
    this.onPick(this.x, this.y);
  }

  key(event) {
    const step = STEPS[event.key];
    if (!step && event.key !== "Escape") return;
    event.preventDefault(); event.stopPropagation();
    if (event.key === "Escape") { this.toggle(false); this.button.focus(); return; }
    const pixels = event.shiftKey ? FAST_PX : 1;
    this.move(this.x + pixels * step[0], this.y + pixels * step[1]);
  }
}
