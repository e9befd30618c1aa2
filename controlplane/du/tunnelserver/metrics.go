package tunnelserver

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	accepted prometheus.Counter
	refused  *prometheus.CounterVec
	bytes    *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		accepted: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tunnelserver_accepted_total", Help: "Tunnels accepted.",
		}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tunnelserver_refused_total", Help: "Tunnels and streams refused, by reason.",
		}, []string{"reason"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tunnelserver_bytes_total", Help: "Bytes of the tunnels that have ended.",
		}, []string{"direction"}),
	}
}

var (
	descTunnels = prometheus.NewDesc("tunnelserver_tunnels", "Tunnels open, by state.", []string{"state"}, nil)
	descLast    = prometheus.NewDesc("tunnelserver_sessions_total", "Sessions since the start.", nil, nil)
)

// Describe is part of [prometheus.Collector].
func (s *Server) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(s, ch) }

// Collect is part of [prometheus.Collector].
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.metrics.accepted.Collect(ch)
	s.metrics.refused.Collect(ch)
	s.metrics.bytes.Collect(ch)
	s.mu.Lock()
	current, all, last := len(s.sessions), s.count, s.last
	s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(descTunnels, prometheus.GaugeValue, float64(current), "up")
	ch <- prometheus.MustNewConstMetric(descTunnels, prometheus.GaugeValue, float64(all-current), "replaced")
	ch <- prometheus.MustNewConstMetric(descLast, prometheus.CounterValue, float64(last))
}
