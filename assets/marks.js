/** What tools draw over the photo: handles and lines that stand out on any colour. */

export function drawHandle(context, [x, y], radius, fill) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fillStyle = fill;
  context.fill();
  context.lineWidth = 1.5;
  context.strokeStyle = "rgba(0,0,0,.75)";
  context.stroke();
}

export function drawLine(context, points, color, isDashed) {
  for (const [stroke, width] of [["rgba(0,0,0,.55)", 3.5], [color, 1.75]]) {
    context.beginPath();
    points.forEach(([x, y], i) => (i === 0 ? context.moveTo(x, y) : context.lineTo(x, y)));
    context.strokeStyle = stroke;
    context.lineWidth = width;
    context.lineJoin = "round";
    context.setLineDash(isDashed ? [6, 4] : []);
    context.stroke();
  }
  context.setLineDash([]);
}
