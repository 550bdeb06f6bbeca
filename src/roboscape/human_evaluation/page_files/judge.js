/** One pair after the other; answers go to the server, which alone knows what was what. */
const element = (id) => document.getElementById(id);

function raterName() {
  let name = localStorage.getItem("rater");
  if (!name) {
    name = [...crypto.getRandomValues(new Uint8Array(12))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
    localStorage.setItem("rater", name);
  }
  return name;
}

const rater = raterName();
let waiting = [];
let done = 0;

function side(name, file) {
  const part = element("side").content.cloneNode(true);
  const section = part.querySelector("section");
  section.setAttribute("aria-label", `${name} video`);
  const video = section.querySelector("video");
  video.src = `videos/${file}`;
  video.setAttribute("aria-label", `${name} video`);
  const [success, plausibility] = section.querySelectorAll("fieldset");
  for (const input of success.querySelectorAll("input")) input.name = `${name}_success`;
  for (let level = 1; level <= 5; level++) {
    const label = document.createElement("label");
    const input = document.createElement("input");
    Object.assign(input, { type: "radio", name: `${name}_plausibility`, value: level });
    input.required = level === 1;
    label.append(input, String(level));
    plausibility.append(label);
  }
  return part;
}

function playBoth() {
  for (const video of document.querySelectorAll("video")) {
    video.currentTime = 0;
    video.play().catch(() => {});
  }
}

function show() {
  const trial = waiting[0];
  element("progress").textContent = `${done} of ${done + waiting.length} pairs answered.`;
  element("form").hidden = !trial;
  if (!trial) {
    element("message").textContent = "That was the last pair. Thank you!";
    return;
  }
  element("form").reset();
  element("pair").replaceChildren(side("left", trial.left), side("right", trial.right));
  for (const video of document.querySelectorAll("video"))
    video.addEventListener("loadeddata", playBoth, { once: true });
}

element("again").addEventListener("click", playBoth);
element("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = Object.fromEntries(new FormData(element("form")));
  for (const name of ["left_plausibility", "right_plausibility"])
    answer[name] = Number(answer[name]);
  const response = await fetch("answers", {
    method: "POST",
    body: JSON.stringify({ ...answer, trial: waiting[0].id, rater }),
  }).catch(() => null);
  if (!response?.ok) {
    element("message").textContent = "The answer was not kept. Check the connection, try again.";
    return;
  }
  element("message").textContent = "";
  waiting.shift();
  done += 1;
  show();
  document.querySelector("h1").scrollIntoView();
});

const questions = await (await fetch(`questions/${rater}`)).json();
element("task").textContent = questions.task;
[waiting, done] = [questions.trials, questions.done];
show();
document.documentElement.dataset.ready = "true";
