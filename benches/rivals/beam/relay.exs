# The relay between two nodes in two processes: put → ETS → relay → subscriber, every number checked on arrival. A
# closed loop: what is put and not yet taken is bounded by credits, so that mailboxes are.
#
# What it does not do that senza does: nothing is kept but the latest value, no number is given (the one that puts
# counts itself), a node gets what nobody there wants, a slow subscriber fills its mailbox, and what is lost with a
# connection is lost without a word.
# What it does that senza does not: a message is any term.

defmodule Relay do
  # More than is on its way when both ends are busy.
  @window 32_768
  @window_bytes 16_000_000

  def params, do: [sensors: 1_000, bytes: [:"8", :"64", :"1536"], batch: 1, seconds: 3.0]

  def run(%{sensors: sensors, bytes: bytes, batch: batch} = params) do
    bytes = String.to_integer("#{bytes}")
    singly = if batch == 1, do: sensors, else: 0
    taker = Readings.taker(sensors, bytes, acknowledge: 1_024)
    {{offered, seconds}, arrived, _} = Readings.carry(__MODULE__, %{params | bytes: bytes}, taker, singly)

    {[readings_per_s: arrived / seconds], %{offered: offered, arrived: arrived, told: 0, lost: offered - arrived},
     configuration: %{readings_on_their_way_max: window(batch, bytes)}}
  end

  # What may be on its way.
  defp window(batch, bytes), do: @window |> min(div(@window_bytes, bytes)) |> max(4 * batch)

  # === the node that puts ===

  def write(%{sensors: sensors, bytes: bytes, batch: batch, seconds: seconds}) do
    begin = BeamNode.now()
    until = begin + round(seconds * 1_000_000)
    window = window(batch, bytes)
    load = %{table: Readings.latest(), value: Readings.value(bytes), sensors: sensors, window: window, until: until}
    offered = if batch == 1, do: put_singly(BeamNode.ids(sensors), 0, 0, load), else: put_batches(batch, 0, 0, load)
    Readings.flush()
    {offered, BeamNode.seconds(begin)}
  end

  defp put_singly(ids, put, taken, load) do
    # What is due is looked at now and then.
    if rem(put, 64) == 0 and BeamNode.now() >= load.until do
      put
    else
      {sensor, seq} = Readings.place(put, load.sensors)
      Readings.put_one(load.table, elem(ids, sensor), {sensor, seq, Readings.clock(), load.value})
      put_singly(ids, put + 1, Readings.wait(put + 1, taken, load.window), load)
    end
  end

  defp put_batches(batch, put, taken, load) do
    if BeamNode.now() >= load.until do
      put
    else
      readings = Readings.next(put, batch, load.sensors, Readings.clock(), load.value)
      Readings.put_many(load.table, Readings.watched(), readings)
      put_batches(batch, put + batch, Readings.wait(put + batch, taken, load.window), load)
    end
  end
end
