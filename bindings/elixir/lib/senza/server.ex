defmodule Senza.Server do
  @moduledoc false
  # The process that owns a node: it starts it, publishes where to find it, and stops it. Look-ups and readings pass it
  # by: who has the node's reference calls the compiled part.
  #
  # The reference lies in `:persistent_term`, which costs no copy. Stopping erases it; what still holds it is told
  # `:closed`.

  use GenServer

  alias Senza.{Error, Native, Settings, Shadow}

  # How often a node is asked whether another one of its name, older, is up.
  @look_ms 1_000

  def start_link(options) do
    settings = Settings.check!(options)
    GenServer.start_link(__MODULE__, settings, name: Map.get(settings, :name, Senza))
  end

  @doc "The node's reference; raises where none of that name runs."
  def ref(name) do
    case :persistent_term.get({Senza, name}, nil) do
      nil -> raise ArgumentError, unknown(name)
      ref -> ref
    end
  end

  defp unknown(name) when is_atom(name) do
    "no node of senza named #{inspect(name)} runs here; " <>
      "add {Senza, name: #{inspect(name)}, node: \"…\"} to a supervisor"
  end

  defp unknown(other), do: "a node must be the name of one that runs here, or its reference, got: #{inspect(other)}"

  @doc "Switches the mode."
  def switch(name, mode), do: GenServer.call(process!(name), {:switch, mode}, :infinity)

  @doc "Leaves another registry in charge."
  def shadow(name, options), do: GenServer.call(process!(name), {:shadow, options}, :infinity) |> raised()

  defp process!(name) do
    if is_atom(name) and GenServer.whereis(name), do: name, else: raise(ArgumentError, unknown(name))
  end

  defp raised({:raise, error}), do: raise(error)
  defp raised(answer), do: answer

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)
    name = Map.get(settings, :name, Senza)
    stop_left_over(name)

    case Native.start(Settings.of_node(settings), self()) do
      {:ok, ref} ->
        shadow = if settings[:mode] == :shadow, do: Shadow.new!(ref, settings[:shadow])
        if shadow, do: :ok = Native.shadow(ref)
        :persistent_term.put({Senza, name}, ref)
        :persistent_term.put({Senza.SensorRegistry, name}, shadow || ref)
        Process.send_after(self(), :look, @look_ms)
        {:ok, %{name: name, ref: ref}}

      fault ->
        {:error, error} = Error.of(fault)
        {:stop, error}
    end
  end

  # Of a life before that was killed: its name is free only once it is stopped.
  defp stop_left_over(name) do
    with ref when ref != nil <- :persistent_term.get({Senza, name}, nil), do: Native.stop(ref)
  end

  @impl true
  def handle_call({:switch, mode}, _from, %{name: name, ref: ref} = state) do
    before = ref |> Native.switch(Atom.to_string(mode)) |> Senza.checked()
    :persistent_term.put({Senza.SensorRegistry, name}, ref)
    {:reply, before, state}
  end

  def handle_call({:shadow, options}, _from, %{name: name, ref: ref} = state) do
    shadow = Shadow.new!(ref, options)
    answer = ref |> Native.shadow() |> Senza.checked()
    if answer == :ok, do: :persistent_term.put({Senza.SensorRegistry, name}, shadow)
    {:reply, answer, state}
  rescue
    # The caller's mistake is the caller's.
    error in ArgumentError -> {:reply, {:raise, error}, state}
  end

  @impl true
  def handle_info(:look, %{ref: ref} = state) do
    case Native.ending(ref) do
      why when is_binary(why) ->
        {:stop, %Error{reason: :name_taken, message: why}, state}

      _ ->
        Process.send_after(self(), :look, @look_ms)
        {:noreply, state}
    end
  end

  def handle_info(_other, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, %{name: name, ref: ref}) do
    Native.stop(ref)
    :persistent_term.erase({Senza.SensorRegistry, name})
    :persistent_term.erase({Senza, name})
  end
end
